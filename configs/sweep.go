package configs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Sweep is a YAML file that has runs try values of some config keys against each other.
type Sweep struct {
	// Name labels the sweep and its runs; the file's base name when absent.
	Name string `yaml:"name"`
	// Base is the config that every trial is, but for the keys that are tried. Relative to the working directory or, where
	// nothing is there, to the sweep's own file.
	Base string `yaml:"base"`
	// Method is grid (every combination, the default) or random.
	Method string `yaml:"method"`
	// Set are values that every trial has over those of the base.
	Set SweepSet `yaml:"set"`
	// Keys are what is tried.
	Keys SweepKeys `yaml:"keys"`
	// Trials is how many combinations method random draws; grid counts by itself.
	Trials int `yaml:"trials"`
	// Seed fixes what method random draws. The runs' own seed is the base's. Default 42.
	Seed int64 `yaml:"seed"`
	// Goal is what is made small: validation_loss (of the best evaluation) or loss (in training, the mean of the last tenth
	// of the steps). Default: validation_loss where the base has validation rows.
	Goal string `yaml:"goal"`
	// Jobs is how many trials run at once, where memory allows: a number, or auto. Default 1.
	Jobs Jobs `yaml:"jobs"`
	// Halving stops the worse trials early; off when absent.
	Halving Halving `yaml:"halving"`

	file string `yaml:"-"` // for the places of errors
}

// SweepKeys are the keys that a sweep tries, in the order of its file.
type SweepKeys []SweepKey

// SweepSet is values for config keys, as --set gives them to one run.
type SweepSet []Setting

// SweepKey is one config key with what is tried for it: values, or a range to draw from.
type SweepKey struct {
	Key    string // with dots, such as lora.rank
	Values []SweepValue
	Range  *SweepRange // nil with values

	line int
}

// SweepValue is one value that is tried.
type SweepValue struct {
	Text string // YAML on one line, as after --set KEY=
	JSON string

	line int
}

// SweepRange is numbers to draw from.
type SweepRange struct {
	// Min and Max are the smallest and the largest number.
	Min float64 `yaml:"min"`
	Max float64 `yaml:"max"`
	// Log draws the logarithm evenly: from 1e-5 to 1e-3 as many below 1e-4 as above.
	Log bool `yaml:"log"`
	// Integer draws whole numbers.
	Integer bool `yaml:"integer"`
}

// Halving is successive halving: at each rung the worse trials stop. Source: Jamieson and Talwalkar 2016, arXiv:1502.07943.
type Halving struct {
	// Rungs are the fractions of a trial's steps at which trials are compared, ascending, between 0 and 1.
	Rungs []float64 `yaml:"rungs"`
	// Keep is the share of the trials at a rung that go on, rounded up. Default 0.5.
	Keep float64 `yaml:"keep"`
}

// Jobs is how many trials run at once; 0 is auto.
type Jobs int

// Setting is a value that a trial has for a key.
type Setting struct {
	Key   string
	Value SweepValue
}

// Trial is one run of a sweep.
type Trial struct {
	Number   int // from 1
	Settings []Setting
	Config   *Config
}

// The methods and the goals of a sweep.
const (
	Grid           = "grid"
	Random         = "random"
	ValidationLoss = "validation_loss"
	TrainingLoss   = "loss"
)

// mostTrials bounds what one forgotten zero can ask for.
const mostTrials = 1000

// LoadSweep reads a sweep's file. Errors are those of [Load]. Values are looked at by [Sweep.Expand].
func LoadSweep(path string) (*Sweep, error) {
	src, err := readSmall(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	s, err := ParseSweep(path, src)
	if err != nil {
		return nil, err
	}
	if beside := filepath.Join(filepath.Dir(path), s.Base); !filepath.IsAbs(s.Base) && missing(s.Base) && !missing(beside) {
		s.Base = beside
	}
	return s, nil
}

func missing(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// ParseSweep is LoadSweep for text at hand; base stays as it is written.
func ParseSweep(name string, src []byte) (*Sweep, error) {
	s := &Sweep{Method: Grid, Seed: 42, Jobs: 1, Halving: Halving{Keep: 0.5}, file: name}
	b := newBinder(name, suggestSweepKey)
	root, line, problem := parseYAML(bytes.TrimPrefix(src, []byte("\ufeff")))
	switch {
	case problem != "":
		b.failed[""] = true
		b.problems = append(b.problems, origin{line: line}.problem(name, "", problem))
	case root != nil:
		b.value(root, "", reflect.ValueOf(s).Elem())
	}
	if s.Name == "" {
		s.Name = strings.TrimSuffix(strings.TrimSuffix(filepath.Base(name), ".yaml"), ".yml")
	}
	check := &checker{}
	s.check(check, b)
	for _, p := range check.problems {
		if !b.unread(p.Key) {
			b.problems = append(b.problems, b.locate(p))
		}
	}
	if err := join(b.problems); err != nil {
		return nil, err
	}
	return s, nil
}

// check looks at everything but the values, which belong to the config.
func (s *Sweep) check(check *checker, b *binder) {
	if strings.ContainsFunc(s.Name, unicode.IsControl) {
		check.bad("name", "must be one line of text without control characters, got %q", s.Name)
	}
	check.path("base", s.Base, "name a config, such as configs/bluey.yaml")
	check.oneOf("method", s.Method, Grid, Random)
	if s.Goal != "" {
		check.oneOf("goal", s.Goal, ValidationLoss, TrainingLoss)
	}
	s.checkCount(check, b)
	before := 0.0
	for i, rung := range s.Halving.Rungs {
		if !(rung > before && rung < 1) {
			check.bad(fmt.Sprintf("halving.rungs[%d]", i), "must be above %g and below 1, got %g: rungs are fractions of the steps, ascending", before, rung)
			break
		}
		before = rung
	}
	if !(s.Halving.Keep > 0 && s.Halving.Keep < 1) {
		check.bad("halving.keep", "must be above 0 and below 1, got %g", s.Halving.Keep)
	}
	if _, given := b.origins["halving.keep"]; given && len(s.Halving.Rungs) == 0 {
		check.bad("halving.rungs", "say at which fractions of the steps trials stop, such as [0.25, 0.5]")
	}
}

// checkCount looks at how many trials there are.
func (s *Sweep) checkCount(check *checker, b *binder) {
	if len(s.Keys) == 0 && !b.unread("keys") {
		check.bad("keys", "name what to try, such as {lora.rank: [4, 8, 16]}")
	}
	combinations, ranges := 1, false
	for _, k := range s.Keys {
		if slices.ContainsFunc(s.Set, func(x Setting) bool { return x.Key == k.Key }) {
			check.bad("keys."+k.Key, "is in set as well, where every trial has the same value")
		}
		if k.Range != nil {
			ranges = true
			if s.Method == Grid {
				check.bad("keys."+k.Key, "is a range, which needs method: random; a grid wants a list of values")
			}
			continue
		}
		combinations = min(combinations*max(1, len(k.Values)), mostTrials+1)
	}
	_, given := b.origins["trials"]
	switch {
	case s.Method == Grid && given && s.Trials != 0:
		check.bad("trials", "is for method: random; a grid is all combinations of its values")
	case s.Method == Grid && combinations > mostTrials:
		check.bad("keys", "are more than %d combinations: take fewer values, or method: random", mostTrials)
	case s.Method == Random && (s.Trials < 1 || s.Trials > mostTrials):
		check.bad("trials", "must be from 1 to %d, got %d", mostTrials, s.Trials)
	case s.Method == Random && !ranges && s.Trials > combinations:
		check.bad("trials", "must be at most %d, as many as there are combinations, got %d", combinations, s.Trials)
	}
}

// Expand returns the trials, in their order, each with a config that holds. Errors: every problem of any trial, once.
func (s *Sweep) Expand() ([]Trial, error) {
	src, err := readSmall(s.Base)
	if err != nil {
		p := unreadable(s.Base, err)
		p.Place, p.Key, p.Text = s.file, "base", s.Base+": "+p.Text
		return nil, p
	}
	combinations, err := s.combinations()
	if err != nil {
		return nil, err
	}
	trials := make([]Trial, len(combinations))
	told := map[string]bool{}
	var problems []*Problem
	for i, settings := range combinations {
		var over []assignment
		for _, x := range slices.Concat(s.Set, settings) {
			over = append(over, assignment{place: fmt.Sprintf("%s:%d: %s=%s", s.file, x.Value.line, x.Key, shown(x.Value.Text)), key: x.Key, value: x.Value.Text})
		}
		cfg, found := parse(s.Base, src, over)
		cfg.Name = s.Name
		trials[i] = Trial{Number: i + 1, Settings: settings, Config: cfg}
		for _, p := range found {
			if !told[p.Error()] {
				told[p.Error()] = true
				for j, x := range slices.Concat(s.Set, settings) { // told in the order of the file
					if p.Place == over[j].place {
						p.line = x.Value.line
					}
				}
				problems = append(problems, p)
			}
		}
	}
	if len(problems) > 0 {
		return nil, join(problems)
	}
	return trials, s.settleGoal(trials)
}

// settleGoal takes the validation loss where every trial has one.
func (s *Sweep) settleGoal(trials []Trial) error {
	without := slices.IndexFunc(trials, func(t Trial) bool { return t.Config.Data.Validation == "" })
	switch {
	case s.Goal == "" && without < 0:
		s.Goal = ValidationLoss
	case s.Goal == "":
		s.Goal = TrainingLoss
	case s.Goal == ValidationLoss && without >= 0:
		return &Problem{Place: s.file, Key: "goal", Text: fmt.Sprintf("%s needs data.validation, which %s does not name; goal: %s compares by the loss in training",
			ValidationLoss, s.Base, TrainingLoss)}
	}
	return nil
}

// combinations returns the settings of all trials.
func (s *Sweep) combinations() ([][]Setting, error) {
	if s.Method == Random {
		return s.draw()
	}
	all := [][]Setting{nil}
	for _, k := range s.Keys { // the last key changes fastest
		var longer [][]Setting
		for _, settings := range all {
			for _, v := range k.Values {
				longer = append(longer, append(slices.Clone(settings), Setting{k.Key, v}))
			}
		}
		all = longer
	}
	return all, nil
}

// draw makes random combinations, all different. More trials leave those before them as they are.
func (s *Sweep) draw() ([][]Setting, error) {
	const fruitless = 10000 // draws in a row that were there before
	r := rand.New(rand.NewPCG(uint64(s.Seed), 0))
	seen := map[string]bool{}
	var all [][]Setting
	for tries := 0; len(all) < s.Trials; tries++ {
		if tries == fruitless {
			return nil, &Problem{Place: s.file, Key: "trials", Text: fmt.Sprintf("want %d, but the keys give only %d different ones", s.Trials, len(all))}
		}
		var settings []Setting
		id := ""
		for _, k := range s.Keys {
			v := k.draw(r)
			settings = append(settings, Setting{k.Key, v})
			id += v.JSON + "\n"
		}
		if !seen[id] {
			seen[id], tries = true, 0
			all = append(all, settings)
		}
	}
	return all, nil
}

// draw returns a value.
func (k *SweepKey) draw(r *rand.Rand) SweepValue {
	if k.Range == nil {
		return k.Values[r.IntN(len(k.Values))]
	}
	x := k.Range.at(r.Float64())
	text := strconv.FormatFloat(x, 'f', -1, 64)
	if !k.Range.Integer {
		text = formatScalar(reflect.ValueOf(x))
	}
	b, _ := json.Marshal(x) // of a finite number
	return SweepValue{Text: text, JSON: string(b), line: k.line}
}

// at returns the number at a fraction of the range, from 0 to below 1. It is rounded to four digits, which tell as much.
func (r *SweepRange) at(fraction float64) float64 {
	low, high := r.Min, r.Max
	if r.Integer { // each whole number gets a stretch of its own
		low, high = low-0.5, high+0.5
		if r.Log {
			low = max(low, r.Min/2)
		}
	}
	x := low + fraction*(high-low)
	if r.Log {
		x = math.Exp(math.Log(low) + fraction*(math.Log(high)-math.Log(low)))
	}
	if r.Integer {
		x = math.Round(x)
	} else {
		x, _ = strconv.ParseFloat(strconv.FormatFloat(x, 'g', 4, 64), 64)
	}
	return min(max(x, r.Min), r.Max)
}

// SettingsJSON returns the settings as a JSON object, keys in their order.
func (t *Trial) SettingsJSON() string {
	parts := make([]string, len(t.Settings))
	for i, x := range t.Settings {
		key, _ := json.Marshal(x.Key)
		parts[i] = string(key) + ":" + x.Value.JSON
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// YAML returns every key of s with its value, for [ParseSweep].
func (s *Sweep) YAML() []byte {
	var out strings.Builder
	fmt.Fprintf(&out, "name: %s\nbase: %s\nmethod: %s\n", formatText(s.Name), formatText(s.Base), s.Method)
	for i, x := range s.Set {
		if i == 0 {
			out.WriteString("set:\n")
		}
		fmt.Fprintf(&out, "  %s: %s\n", x.Key, x.Value.Text)
	}
	out.WriteString("keys:\n")
	for _, k := range s.Keys {
		fmt.Fprintf(&out, "  %s: %s\n", k.Key, k.text())
	}
	fmt.Fprintf(&out, "trials: %d\nseed: %d\n", s.Trials, s.Seed)
	if s.Goal != "" {
		fmt.Fprintf(&out, "goal: %s\n", s.Goal)
	}
	fmt.Fprintf(&out, "jobs: %s\n", s.Jobs)
	if len(s.Halving.Rungs) > 0 {
		var rungs []string
		for _, rung := range s.Halving.Rungs {
			rungs = append(rungs, formatScalar(reflect.ValueOf(rung)))
		}
		fmt.Fprintf(&out, "halving:\n  rungs: [%s]\n  keep: %s\n", strings.Join(rungs, ", "), formatScalar(reflect.ValueOf(s.Halving.Keep)))
	}
	return []byte(out.String())
}

// text writes what is tried for a key on one line.
func (k *SweepKey) text() string {
	if r := k.Range; r != nil {
		return fmt.Sprintf("{min: %s, max: %s, log: %t, integer: %t}", formatScalar(reflect.ValueOf(r.Min)), formatScalar(reflect.ValueOf(r.Max)), r.Log, r.Integer)
	}
	texts := make([]string, len(k.Values))
	for i, v := range k.Values {
		texts[i] = v.Text
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

// Differences returns what another file of the sweep says otherwise, a line for each key.
func (s *Sweep) Differences(now *Sweep) []string {
	lines := func(s *Sweep) (keys []string, values map[string]string) {
		values = map[string]string{}
		section := ""
		for line := range strings.Lines(string(s.YAML())) {
			key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			name, nested := strings.CutPrefix(key, "  ")
			if !nested {
				section = strings.TrimSuffix(name, ":")
			} else {
				name = section + "." + name
			}
			if value != "" {
				keys = append(keys, name)
				values[name] = value
			}
		}
		return keys, values
	}
	wasKeys, was := lines(s)
	nowKeys, is := lines(now)
	var out []string
	for _, key := range append(slices.Clone(wasKeys), slices.DeleteFunc(slices.Clone(nowKeys), func(k string) bool { return was[k] != "" })...) {
		if was[key] != is[key] {
			out = append(out, fmt.Sprintf("%s: is %s, was %s", key, orNothing(is[key]), orNothing(was[key])))
		}
	}
	if len(out) == 0 && !slices.Equal(wasKeys, nowKeys) {
		out = append(out, "keys: have another order")
	}
	return out
}

func orNothing(text string) string {
	if text == "" {
		return "absent"
	}
	return text
}

// String writes jobs as in YAML.
func (j Jobs) String() string {
	if j == 0 {
		return "auto"
	}
	return strconv.Itoa(int(j))
}
