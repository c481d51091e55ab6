package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"tune/configs"
	"tune/internal/chart"
	"tune/internal/checkpoint"
	"tune/internal/hub"
	"tune/internal/plan"
	"tune/internal/safetensors"
	"tune/internal/torch"
)

func modelsCommand() *cli.Command {
	return &cli.Command{
		Name:      "models",
		Usage:     "which models are on this machine, and which of them it can train",
		ArgsUsage: "[FOLDER ...]",
		Description: "Lists the Hugging Face cache, which Python's programs share, and the model folders given.\n" +
			"Whether a model fits is what tune plan says of a config with defaults, LoRA of rank 16 and batches\n" +
			"of 4 rows, all of them 512 tokens long: shorter rows and smaller batches need less.\n\n" +
			"   tune models\n" +
			"   tune models models/pocket --json",
		Flags:  []cli.Flag{jsonFlag()},
		Action: listModels,
	}
}

// modelReport is one model as tune models --json writes it.
type modelReport struct {
	Name       string   `json:"name"`      // org/name, or a folder
	Commit     string   `json:"commit"`    // empty for a folder
	Revisions  []string `json:"revisions"` // branches and tags that were last seen at this commit
	Path       string   `json:"path"`
	ModelType  string   `json:"model_type"` // of config.json
	Parameters int64    `json:"parameters"` // numbers in the weight files
	Bytes      int64    `json:"bytes"`      // on disk
	DType      string   `json:"dtype"`      // that most of the weights have
	Complete   bool     `json:"complete"`
	Missing    []string `json:"missing"`
	Trainable  bool     `json:"trainable"`
	Problem    string   `json:"problem"` // why it is not trainable
	// What training with LoRA would need, by the plan; null for a model that cannot be trained anyway.
	Fits        *bool `json:"fits"`
	NeedBytes   int64 `json:"need_bytes"`
	MemoryBytes int64 `json:"memory_bytes"`
}

func listModels(c *cli.Context) error {
	client, err := hub.FromEnvironment()
	if err != nil {
		return badInput{err, ""}
	}
	cached, err := client.List()
	if err != nil {
		// One repository that is damaged hides none of the others.
		fmt.Fprintf(c.App.ErrWriter, "warning: %s\n", printable(err.Error()))
	}
	models := []modelReport{}
	for _, m := range cached {
		models = append(models, modelReport{Name: m.Repo, Commit: m.Commit, Revisions: m.Revisions, Path: m.Dir,
			Bytes: m.Bytes, Missing: m.Missing})
	}
	for _, dir := range c.Args().Slice() {
		m, err := localModel(dir)
		if err != nil {
			return err
		}
		models = append(models, m)
	}
	fits, err := planned()
	if err != nil {
		return err
	}
	for i := range models {
		models[i].examine(fits)
	}
	if c.Bool("json") {
		return writeJSON(c.App.Writer, models)
	}
	return writeModels(c.App.Writer, models, client.Cache)
}

// localModel is a folder that is not in the cache.
func localModel(dir string) (modelReport, error) {
	if err := checkModelFolder("tune models: "+dir, dir); err != nil {
		return modelReport{}, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return modelReport{}, badInput{fmt.Errorf("tune models: %w", err), "an argument is the folder of a model"}
	}
	if _, err := os.Stat(filepath.Join(dir, "config.json")); errors.Is(err, fs.ErrNotExist) {
		return modelReport{}, badInput{fmt.Errorf("tune models: %s: no model folder: there is no config.json in it", dir), modelHint}
	}
	m := modelReport{Name: dir, Path: dir}
	for _, e := range entries {
		if info, err := os.Stat(filepath.Join(dir, e.Name())); err == nil && !info.IsDir() {
			m.Bytes += info.Size()
		}
	}
	m.Missing, err = hub.Missing(dir)
	return m, err
}

// fitsFunc says how many bytes training a model with LoRA needs, and how many there are.
type fitsFunc func(dir string) (needBytes, haveBytes int64, err error)

// planned returns what tune plan predicts on this machine for a config with nothing but defaults, whose rows are all as
// long as data.max_length lets them be.
func planned() (fitsFunc, error) {
	device, err := torch.ParseDevice("auto")
	if err != nil {
		return nil, err
	}
	return func(dir string) (needBytes, haveBytes int64, err error) {
		cfg := configs.Default()
		model, err := checkpoint.ReadConfig(dir)
		if err != nil {
			return 0, 0, err
		}
		p, err := newPlanner(&cfg, model, device, nil, nil)
		if err != nil {
			return 0, 0, err
		}
		rows, longest := int64(cfg.Train.BatchSize), int64(cfg.Data.MaxLength)
		predict := func(cfg *configs.Config) int64 {
			in := p.inputs(cfg)
			in.Batches = []plan.Batch{{Rows: rows, Tokens: rows * longest, Longest: longest, Targets: rows * longest}}
			return plan.Predict(in).Bytes
		}
		limit, _, of := p.limits()
		settle(&cfg, limit, of, predict) // as a run would
		return predict(&cfg), limit, nil
	}, nil
}

// examine reads what a model's files say.
func (m *modelReport) examine(fits fitsFunc) {
	m.Complete = len(m.Missing) == 0
	if m.Revisions == nil {
		m.Revisions = []string{}
	}
	if m.Missing == nil {
		m.Missing = []string{}
	}
	if m.Path == "" {
		m.Problem = "only the beginning of a download"
		return
	}
	config, err := checkpoint.ReadConfig(m.Path)
	if config != nil {
		m.ModelType = config.ModelType
	}
	var problems []string
	if err != nil {
		m.ModelType = modelType(m.Path)
		problems = append(problems, notTrainable(m.ModelType, err))
	}
	if m.Complete {
		if err := m.weigh(); err != nil {
			problems = append(problems, err.Error())
		}
	} else {
		problems = append(problems, "missing "+strings.Join(m.Missing, ", "))
	}
	m.Problem = strings.Join(problems, "; ")
	if m.Trainable = len(problems) == 0; !m.Trainable {
		return
	}
	need, have, err := fits(m.Path)
	if err != nil || have == 0 { // nothing is known: nothing is said
		return
	}
	enough := need <= have
	m.Fits, m.NeedBytes, m.MemoryBytes = &enough, need, have
}

// weigh counts the parameters and finds their usual dtype.
func (m *modelReport) weigh() error {
	files, err := safetensors.OpenDir(m.Path)
	if err != nil {
		return err
	}
	bytes := map[safetensors.DType]int64{}
	for _, name := range files.Names() {
		info, _ := files.Info(name)
		m.Parameters += info.NumElements()
		if bytes[info.DType] += info.NumBytes(); bytes[info.DType] > bytes[safetensors.DType(m.DType)] || m.DType == "" {
			m.DType = string(info.DType)
		}
	}
	return files.Close()
}

// notTrainable says in a few words why a config.json is refused.
func notTrainable(modelType string, err error) string {
	if errors.Is(err, checkpoint.ErrUnsupported) && modelType != "" {
		for _, known := range checkpoint.Known() {
			if known == modelType {
				return err.Error()
			}
		}
		return "no Gemma that tune trains"
	}
	return err.Error()
}

// writeModels shows the models to people.
func writeModels(w io.Writer, models []modelReport, cache string) error {
	if len(models) == 0 {
		_, err := fmt.Fprintf(w, "no models in %s yet; model.path: google/gemma-3-1b-it in a config fetches one\n", cache)
		return err
	}
	s := screenOf(w)
	column := func(title string, drop int, right bool, cell func(m *modelReport) string) tableColumn {
		c := tableColumn{title: title, drop: drop, right: right}
		for i := range models {
			c.cells = append(c.cells, printable(cell(&models[i])))
		}
		return c
	}
	err := s.writeTable(w, []tableColumn{
		column("model", 0, false, func(m *modelReport) string { return m.Name }),
		column("revision", 2, false, (*modelReport).revision),
		column("type", 3, false, func(m *modelReport) string { return m.ModelType }),
		column("parameters", 1, true, func(m *modelReport) string { return unlessZero(m.Parameters, count) }),
		column("dtype", 4, false, func(m *modelReport) string { return m.DType }),
		column("on disk", 0, true, func(m *modelReport) string { return chart.FormatBytes(float64(m.Bytes)) }),
		column("LoRA here (plan)", 0, false, (*modelReport).verdict),
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "\nthe cache is %s\n", cache)
	return err
}

func unlessZero(n int64, text func(int64) string) string {
	if n == 0 {
		return ""
	}
	return text(n)
}

// revision is the beginning of the commit with the names that it has.
func (m *modelReport) revision() string {
	return strings.TrimSpace(fmt.Sprintf("%.8s %s", m.Commit, strings.Join(m.Revisions, ", ")))
}

// verdict says whether a model can be trained here.
func (m *modelReport) verdict() string {
	need, have := chart.FormatBytes(float64(m.NeedBytes)), chart.FormatBytes(float64(m.MemoryBytes))
	switch {
	case !m.Complete:
		return "partial: " + m.Problem
	case !m.Trainable:
		return "not trainable: " + m.Problem
	case m.Fits == nil:
		return "memory unknown"
	case *m.Fits:
		return fmt.Sprintf("fits: %s of %s", need, have)
	}
	return fmt.Sprintf("too large: %s of %s", need, have)
}

// modelType reads model_type of a config.json that tune does not know.
func modelType(dir string) string {
	text, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		return ""
	}
	var config struct {
		ModelType string `json:"model_type"`
	}
	if json.Unmarshal(text, &config) != nil {
		return ""
	}
	return config.ModelType
}
