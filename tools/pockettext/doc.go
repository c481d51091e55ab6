// Command pockettext writes the simple English that models/pocket learns from: questions with calm, factual
// answers of two to six sentences, little stories, and free narratives. Every sentence comes from the templates,
// tables, facts and word classes in content/, which were written for this program; no other text goes in.
//
//	go run ./tools/pockettext -rows 50000 -seed 1 -out datasets/pocket
//
// writes train.jsonl and valid.jsonl. A row is either {"messages": [user, assistant, ...]} or {"text": ...}.
// The same flags always give the same bytes. The validation rows come from another random stream, never repeat
// a training row, and half of them join a fact to a question in a way that the training rows never do
// (see heldOut), so that their perplexity says something about more than memory.
//
// How a row is made: a source is drawn by weight (topics, tables, sums, stories, ...); it expands templates
// (grammar.go) whose slots are bound to a row of a table or drawn from word lists; tidy then puts articles,
// capitals and spaces right.
//
// Nearly half of the rows are free narratives (narrative.go, content/rules_narrative.txt): everyday English of
// random words in random sentences. A sentence hardly ever comes twice there, so that a small model learns how
// words go together instead of learning sentences by heart.
package main
