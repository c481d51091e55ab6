// Package trainer is the training loop: steps, learning-rate schedules, evaluation and samples.
//
// A step is one update of the trained weights. Its loss, in nats, is
//
//	L = Σ over target tokens t of -log p(t | what comes before t) / number of target tokens
//
// where the sum runs over all micro-batches of the step. The gradients of the micro-batches are those of the sum;
// the division happens once, before clipping, so every target token weighs the same however it was batched.
//
//	loop.go       Run: the algorithm, top to bottom
//	learner.go    forward, backward, clip, update; gradient checkpointing
//	schedule.go   the learning rate of a step
//	evaluate.go   the loss on data that is never trained on
//	sample.go     replies that the model writes while it learns
//	checkpoint.go what a run needs to go on after it was stopped: saved, checked, read again
//	blame.go      which tensor is to blame when numbers stop being finite
//	recorder.go   what a run tells about itself
package trainer
