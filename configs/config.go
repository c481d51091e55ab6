// Package configs holds the YAML schema of a training run, its defaults and its checks, next to the presets
// that ship with tune. Keys use the words of PEFT and of Hugging Face's TrainingArguments.
package configs

import "tune/internal/checkpoint"

// Config is one run, resolved: defaults, then the file, then --set flags.
type Config struct {
	// Name labels the run in listings and charts; the file's base name when absent.
	Name string `yaml:"name"`
	// Seed fixes the order of the rows, the initial adapter, dropout and sampling. Default 42.
	Seed int64 `yaml:"seed"`
	// Device is auto, mps, cuda or cpu. Default auto: mps, then cuda, then cpu.
	Device string `yaml:"device"`
	// Threads is how many CPU threads libtorch uses; 0, the default, takes the physical cores; at most
	// four for each logical CPU.
	Threads int `yaml:"threads"`
	// Method is lora (the default) or full: train every weight.
	Method string `yaml:"method"`
	// Retries is how often a run whose training process died goes on by itself from its last checkpoint; after it ran out of
	// memory with half as many rows a forward pass, in the same optimizer steps. Default 2.
	Retries int `yaml:"retries"`

	Model Model `yaml:"model"`
	LoRA  LoRA  `yaml:"lora"`
	Data  Data  `yaml:"data"`
	Train Train `yaml:"train"`

	Checkpoint Checkpoint `yaml:"checkpoint"`

	Sample Sample `yaml:"sample"`
	Output Output `yaml:"output"`
}

// Model names the base model.
type Model struct {
	// Path is a Hugging Face folder: config.json, tokenizer and safetensors, relative to the working directory.
	// What is no folder here but has the form org/name, such as google/gemma-3-1b-it, is fetched from the Hub.
	Path string `yaml:"path"`
	// Revision is a branch, tag or commit of a model of the Hub; main when absent.
	Revision string `yaml:"revision"`
	// DType of the base weights and activations: auto (bfloat16 where the device computes it well, float32
	// otherwise), bfloat16 or float32. Default auto. Never float16: Gemma's activations overflow it.
	DType string `yaml:"dtype"`
	// Quantize keeps the weights of the linear modules, which method lora leaves as they are, in fewer bits a number, in
	// groups of 64 that share a scale: none, int8 (8.25 bits in all) or int4 (4.375); bfloat16 has 16. Default none. Take
	// int8 when the model does not fit, int4 when it still does not; the embedding, the norms, the adapter and all
	// activations stay as they are. A step takes longer, as each weight is made whole at every use.
	Quantize string `yaml:"quantize"`
	// Init is pretrained (the default) or random: start from N(0, initializer_range), for method full.
	Init string `yaml:"init"`
}

// QuantizeBits returns how many bits a number of a linear module's weight has: 8, 4, or 0 where they are not quantised.
func (m Model) QuantizeBits() int {
	return map[string]int{"int8": 8, "int4": 4}[m.Quantize]
}

// LoRA sets the adapter. Used when Method is lora.
type LoRA struct {
	// Rank of the update, PEFT's r. Default 16.
	Rank int `yaml:"rank"`
	// Alpha scales the update by Alpha/Rank. Default 32.
	Alpha float64 `yaml:"alpha"`
	// Dropout is the share of the adapter's inputs set to zero in training, from 0 to below 1. Default 0.
	Dropout float64 `yaml:"dropout"`
	// TargetModules are the linear modules that get an adapter. Default: all seven.
	TargetModules []string `yaml:"target_modules"`
	// UseRSLoRA scales the update by Alpha/sqrt(Rank). Default false.
	UseRSLoRA bool `yaml:"use_rslora"`
	// UseDoRA also trains the magnitude of each output, arXiv:2402.09353. Default false.
	UseDoRA bool `yaml:"use_dora"`
	// LayersToTransform limits the adapter to these layers, counted from 0. Default: every layer.
	LayersToTransform []int `yaml:"layers_to_transform"`
	// RankPattern gives modules a rank of their own, as PEFT's: a key is a regular expression for a module's name or
	// for what follows one of its dots, such as `v_proj` or `layers.0.self_attn.q_proj`; the first that matches counts.
	RankPattern Pattern[int] `yaml:"rank_pattern"`
	// AlphaPattern gives modules an alpha of their own, with the keys of rank_pattern.
	AlphaPattern Pattern[float64] `yaml:"alpha_pattern"`
	// LoRAPlusLRRatio is LoRA+, arXiv:2402.12354: B, and with use_dora the magnitude, learn at this many times the
	// learning rate, which is A's. From 1 to 1000; the paper takes about 16, with a smaller learning_rate. 0, the
	// default, is off and the same as 1.
	LoRAPlusLRRatio float64 `yaml:"loraplus_lr_ratio"`
	// ModulesToSave must be empty. In PEFT it names modules to train whole beside the adapter, such as lm_head. Gemma's
	// head is its embedding: a trained copy of one no longer fits the other, and makes an adapter of megabytes one of
	// gigabytes.
	ModulesToSave []string `yaml:"modules_to_save"`
	// From is an adapter to start from, a folder that PEFT or MLX wrote; from fresh numbers when absent. Rank, alpha,
	// modules and layers, rsLoRA and DoRA are then the adapter's: leave those keys out, or say the same. Relative to the
	// working directory.
	From string `yaml:"from"`
}

// Pattern gives the modules that keys match a value of their own, in the order of the file: of two keys that match,
// the first counts. In YAML it is a mapping.
type Pattern[V int | float64] []PatternEntry[V]

// PatternEntry is one line of a Pattern.
type PatternEntry[V int | float64] struct {
	Key   string // a regular expression for a module's name, or for what follows one of its dots
	Value V
}

// Data says what to learn from.
type Data struct {
	// Train is a JSONL file. Relative to the working directory.
	Train string `yaml:"train"`
	// Validation is a JSONL file that is never trained on; none when absent.
	Validation string `yaml:"validation"`
	// MaxLength cuts a row to this many tokens. Default 512.
	MaxLength int `yaml:"max_length"`
	// LossOn is replies (assistant turns with their end, the default) or all (every token after the first).
	LossOn string `yaml:"loss_on"`
	// Shuffle orders the rows anew each epoch, from the seed. Default true.
	Shuffle bool `yaml:"shuffle"`
	// PadToMaxLength fills every row to max_length, as many Python scripts do. Default false. It only costs
	// time and memory: padding is never learned. It exists to reproduce such a run.
	PadToMaxLength bool `yaml:"pad_to_max_length"`
}

// Train is the optimizer's part.
type Train struct {
	// NumTrainEpochs is how often each row is seen. Default 3.
	NumTrainEpochs int `yaml:"num_train_epochs"`
	// MaxSteps stops after this many optimizer steps; 0, the default, trains whole epochs.
	MaxSteps int `yaml:"max_steps"`
	// BatchSize is how many rows one forward pass takes. Default 4.
	BatchSize int `yaml:"batch_size"`
	// GradientAccumulationSteps is how many batches make one optimizer step. Default 1.
	GradientAccumulationSteps int `yaml:"gradient_accumulation_steps"`
	// LearningRate at the peak of the schedule. Default 2e-4.
	LearningRate float64 `yaml:"learning_rate"`
	// LRSchedulerType is constant, linear or cosine; all but constant end at 0. Default linear.
	LRSchedulerType string `yaml:"lr_scheduler_type"`
	// WarmupSteps raises the learning rate from 0 over this many steps. Default 0.
	WarmupSteps int `yaml:"warmup_steps"`
	// WeightDecay of AdamW, decoupled. Default 0.
	WeightDecay float64 `yaml:"weight_decay"`
	// MaxGradNorm clips the norm of all gradients together; 0 turns clipping off. Default 1.
	MaxGradNorm float64 `yaml:"max_grad_norm"`
	// AdamBeta1 is AdamW's memory of the gradients. Default 0.9.
	AdamBeta1 float64 `yaml:"adam_beta1"`
	// AdamBeta2 is AdamW's memory of their squares. Default 0.999.
	AdamBeta2 float64 `yaml:"adam_beta2"`
	// AdamEpsilon keeps AdamW from dividing by 0. Default 1e-8.
	AdamEpsilon float64 `yaml:"adam_epsilon"`
	// GradientCheckpointing keeps one activation a layer and computes the rest again: true, false or auto. With auto, the
	// default, it is on where the run is predicted to fit into memory with it and not without, and off elsewhere.
	GradientCheckpointing bool `yaml:"gradient_checkpointing"`
	// AutoCheckpointing is the word auto: GradientCheckpointing is false until the run's plan has decided.
	AutoCheckpointing bool `yaml:"-"`
	// EvalSteps evaluates on data.validation every so many steps, besides before the first and after the
	// last; 0, the default, only then.
	EvalSteps int `yaml:"eval_steps"`
	// Patience ends the run when this many evaluations in a row were no better than the best before them; 0, the default,
	// never. It needs data.validation and eval_steps.
	Patience int `yaml:"patience"`
}

// Checkpoint says when a run saves what it needs to go on after it was stopped, whatever stopped it.
type Checkpoint struct {
	// Steps saves a checkpoint every so many steps; 0, the default, about once a minute, and more rarely where saving takes
	// longer than a fiftieth of that. Ctrl-C and SIGTERM save one as well.
	Steps int `yaml:"steps"`
	// Keep is how many of the newest checkpoints stay, besides the one with the best validation loss. Default 2.
	Keep int `yaml:"keep"`
}

// Sample has the model write while it learns, so that its voice can be heard changing.
type Sample struct {
	// Prompts are user turns; the replies before the first and after the last step are always kept.
	Prompts []string `yaml:"prompts"`
	// Steps also samples every so many steps; 0, the default, only before and after.
	Steps int `yaml:"steps"`
	// MaxNewTokens ends a reply that does not end itself. Default 120.
	MaxNewTokens int `yaml:"max_new_tokens"`
	// Temperature 0, the default, takes the likeliest token each time.
	Temperature float64 `yaml:"temperature"`
}

// Output says where results go.
type Output struct {
	// Dir receives one folder a run. Default runs.
	Dir string `yaml:"dir"`
	// Database is the SQLite file that every run is recorded in. Default runs.db.
	Database string `yaml:"database"`
	// DType in which method full saves its weights: bfloat16 or float32. Default bfloat16.
	DType string `yaml:"dtype"`
}

// autos returns, by dotted key, where the truth values keep that they are auto.
func (c *Config) autos() map[string]*bool {
	return map[string]*bool{"train.gradient_checkpointing": &c.Train.AutoCheckpointing}
}

// Default is the configuration of an empty file.
func Default() Config {
	return Config{
		Seed: 42, Device: "auto", Method: "lora", Retries: 2,
		Model: Model{DType: "auto", Quantize: "none", Init: "pretrained"},
		LoRA:  LoRA{Rank: 16, Alpha: 32, TargetModules: checkpoint.LinearModules()},
		Data:  Data{MaxLength: 512, LossOn: "replies", Shuffle: true},
		Train: Train{NumTrainEpochs: 3, BatchSize: 4, GradientAccumulationSteps: 1, LearningRate: 2e-4,
			LRSchedulerType: "linear", MaxGradNorm: 1, AdamBeta1: 0.9, AdamBeta2: 0.999, AdamEpsilon: 1e-8,
			AutoCheckpointing: true},
		Checkpoint: Checkpoint{Keep: 2},

		Sample: Sample{MaxNewTokens: 120},
		Output: Output{Dir: "runs", Database: "runs.db", DType: "bfloat16"},
	}
}
