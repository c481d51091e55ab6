package report

import (
	"slices"
	"strings"

	"tune/internal/runstore"
)

// promptView is what a prompt was answered over time.
type promptView struct {
	Prompt        string
	Before, After replyView   // of the first and the last step; After is empty where there is one only
	All           []replyView // of every step, each with what is new since the one before; nil where there are two or fewer
}

type replyView struct {
	Step   string
	Pieces []piece
	Ended  string // why it ended, where that was not by itself
}

// maxReply is how many letters of a reply are shown.
const maxReply = 4000

// promptsOf groups samples by prompt.
func promptsOf(samples []runstore.Sample) []promptView {
	var out []promptView
	for _, of := range byPrompt(samples) {
		first, last := of[0], of[len(of)-1]
		v := promptView{Prompt: clean(first.Prompt)}
		if len(of) == 1 {
			v.Before = replyOf(first, []piece{{Text: replyText(first)}})
			out = append(out, v)
			continue
		}
		was, is := changes(replyText(first), replyText(last))
		v.Before, v.After = replyOf(first, was), replyOf(last, is)
		if len(of) > 2 {
			v.All = append(v.All, replyOf(first, []piece{{Text: replyText(first)}}))
			for i := 1; i < len(of); i++ {
				_, is := changes(replyText(of[i-1]), replyText(of[i]))
				v.All = append(v.All, replyOf(of[i], is))
			}
		}
		out = append(out, v)
	}
	return out
}

// byPrompt returns the samples of each prompt, by step.
func byPrompt(samples []runstore.Sample) [][]runstore.Sample {
	var out [][]runstore.Sample
	place := map[int]int{}
	for _, x := range samples {
		at, ok := place[x.PromptIndex]
		if !ok {
			at = len(out)
			place[x.PromptIndex], out = at, append(out, nil)
		}
		out[at] = append(out[at], x)
	}
	slices.SortStableFunc(out, func(a, b []runstore.Sample) int { return a[0].PromptIndex - b[0].PromptIndex })
	return out
}

// replyText is a reply as it is shown, without white space at its ends.
func replyText(x runstore.Sample) string {
	return shortened(strings.TrimSpace(clean(x.Reply)), maxReply)
}

// afterStep says when something was, of which step 0 is before training.
func afterStep(step int64) string {
	if step == 0 {
		return "before training"
	}
	return "after step " + thousands(step)
}

func replyOf(x runstore.Sample, pieces []piece) replyView {
	v := replyView{Step: afterStep(x.Step), Pieces: pieces}
	if x.StopReason == "length" || x.StopReason == "max_tokens" {
		v.Ended = "cut at " + countOf(x.Tokens, "token")
	}
	return v
}
