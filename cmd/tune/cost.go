package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"tune/configs"
	"tune/internal/chart"
	"tune/internal/cost"
	"tune/internal/runstore"
)

// pricesFile is what tune cost reads where --prices names nothing.
const pricesFile = "prices.yaml"

func costCommand() *cli.Command {
	return &cli.Command{
		Name:      "cost",
		Usage:     "what runs cost here, and would have cost on rented GPUs",
		ArgsUsage: "[RUN ...]",
		Description: "RUN is an id or the start of one, a name, or last; without any all runs are summed up. Prices are examples\n" +
			"until you write your own: ./prices.yaml is read where it exists. Every number that a result rests on is\n" +
			"printed with the place it comes from. docs/cost.md tells how to read it.\n\n" +
			"   tune cost last\n" +
			"   tune cost --print-prices > prices.yaml\n" +
			"   tune cost --watts 40 --out cost.svg",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "prices", Usage: "read prices from `FILE`; ./prices.yaml where it exists, else those that ship with tune"},
			&cli.BoolFlag{Name: "print-prices", Usage: "print the prices that ship with tune, to be edited"},
			&cli.Float64Flag{Name: "watts", Usage: "the machine draws `N` watts while it trains, whatever was measured"},
			&cli.StringSliceFlag{Name: "benchmarks", Usage: "another database `FILE`, whose measurements tell how fast other devices are; may be repeated"},
			&cli.IntFlag{Name: "limit", Usage: "list the newest `N`; 0 lists all. The sum is over all", Value: 20},
			&cli.StringSliceFlag{Name: "out", Usage: "write a picture of bought against rented to `FILE`.svg, .png or .pdf instead; may be repeated"},
			&cli.BoolFlag{Name: "dark", Usage: "a picture with a dark background"},
			&cli.StringFlag{Name: "title", Usage: "what stands above a picture"},
			&cli.BoolFlag{Name: "markdown", Usage: "write Markdown tables, to publish"},
			databaseFlag(), jsonFlag(),
		},
		Action: costAction,
	}
}

func costAction(c *cli.Context) error {
	if err := errors.Join(oneFormat(c, "json", "markdown", "print-prices"), atLeast(c, "limit", 0)); err != nil {
		return err
	}
	if c.Bool("print-prices") {
		_, err := c.App.Writer.Write(configs.ShippedPrices)
		return err
	}
	if w := c.Float64("watts"); c.IsSet("watts") && !(w > 0 && w < 1e6) {
		return badInput{fmt.Errorf("tune cost: --watts: must be above 0 and below a million, got %g", w), ""}
	}
	var formats []chart.Format
	for _, path := range c.StringSlice("out") {
		format, err := chart.ParseFormat(filepath.Ext(path))
		if err != nil {
			return badInput{fmt.Errorf("tune cost: --out %s: want a name that ends in .svg, .png or .pdf", path), ""}
		}
		formats = append(formats, format)
	}
	prices, err := loadPrices(c)
	if err != nil {
		return err
	}
	runs, known, err := readCosts(c)
	if err != nil {
		return err
	}
	b := &bill{prices: prices, watts: c.Float64("watts"), speeds: known, now: time.Now()}
	r := b.report(runs)
	for i, path := range c.StringSlice("out") {
		if err := b.draw(path, formats[i], r, chart.Options{Dark: c.Bool("dark"), Title: c.String("title")}); err != nil {
			return err
		}
		if !c.Bool("json") {
			fmt.Fprintln(c.App.Writer, "wrote", path)
		}
	}
	switch {
	case c.Bool("json"):
		return writeJSON(c.App.Writer, r)
	case len(formats) > 0:
		return nil
	case len(r.Runs) == 0:
		_, err := fmt.Fprintln(c.App.Writer, "no runs yet: tune run configs/bluey.yaml makes the first")
		return err
	}
	return r.write(c.App.Writer, c.Int("limit"), c.Bool("markdown"))
}

// loadPrices reads the prices that --prices names, or those in the folder, or those that ship.
func loadPrices(c *cli.Context) (*configs.Prices, error) {
	path := c.String("prices")
	if !c.IsSet("prices") {
		if _, err := os.Stat(pricesFile); errors.Is(err, fs.ErrNotExist) {
			return configs.LoadPrices("")
		}
		path = pricesFile
	}
	if path == "" {
		return nil, badInput{errors.New("tune cost: --prices: want the name of a file, got none"), ""}
	}
	return configs.LoadPrices(path)
}

// readCosts reads the runs that are named, or all that have begun, and what is known of speeds.
func readCosts(c *cli.Context) ([]runstore.RunSummary, *speeds, error) {
	store, err := openRuns(c)
	if err != nil {
		return nil, nil, err
	}
	known := &speeds{}
	var runs []runstore.RunSummary
	err = func() (err error) {
		if err := known.read(c.Context, store, true); err != nil {
			return err
		}
		if c.NArg() == 0 {
			runs, err = store.Runs(c.Context, runstore.Filter{})
			return err
		}
		for _, ref := range c.Args().Slice() {
			run, err := store.Run(c.Context, ref)
			if err != nil {
				return err
			}
			if !slices.ContainsFunc(runs, func(r runstore.RunSummary) bool { return r.ID == run.ID }) {
				runs = append(runs, run)
			}
		}
		return nil
	}()
	if err := closing(store, err); err != nil {
		return nil, nil, err
	}
	others, err := readSpeeds(c.Context, "benchmarks", c.StringSlice("benchmarks"), true)
	if err != nil {
		return nil, nil, err
	}
	known.add(others)
	return runs, known, nil
}

// bill makes reports of costs.
type bill struct {
	prices *configs.Prices
	watts  float64 // of a flag; 0 for none
	speeds *speeds
	now    time.Time

	r *costReport // being made
}

// costReport is what tune cost --json writes. What is not known is null.
type costReport struct {
	Currency    string       `json:"currency"`
	Assumptions []assumption `json:"assumptions"`
	Runs        []runCost    `json:"runs"`
	Sum         expenses     `json:"sum"`
	Cloud       []cloudCost  `json:"cloud"`
	Notes       []string     `json:"notes"`

	machine *machineCost // the one that all runs were made on; nil where there are several
}

// assumption is one number that the report rests on.
type assumption struct {
	Key    string `json:"key"`
	Value  any    `json:"value"`
	Unit   string `json:"unit"`
	Place  string `json:"place"` // file:line, default, or a flag
	Source string `json:"source"`
	AsOf   string `json:"as_of"`
}

// expenses are what work cost on the machine that did it.
type expenses struct {
	WallSeconds     runstore.Real `json:"wall_seconds"`
	Tokens          int64         `json:"tokens"`
	EnergyKWh       runstore.Real `json:"energy_kwh"`
	ElectricityCost runstore.Real `json:"electricity_cost"`
	HardwareCost    runstore.Real `json:"hardware_cost"` // the share of its price
	TotalCost       runstore.Real `json:"total_cost"`
	PerMillion      runstore.Real `json:"cost_per_million_tokens"`
}

// runCost is what one run cost.
type runCost struct {
	ID           string `json:"id"`
	Name         string `json:"name"`
	Status       string `json:"status"`
	Machine      string `json:"machine"`
	Device       string `json:"device"`
	EnergySource string `json:"energy_source"` // as in runs.db where it was measured, watts where the draw was stated; empty where unknown
	expenses
}

// cloudCost is the same work on a rented GPU.
type cloudCost struct {
	Name           string        `json:"name"`
	PricePerHour   runstore.Real `json:"price_per_hour"`
	BilledPer      string        `json:"billed_per"`
	StartupMinutes runstore.Real `json:"startup_minutes"`
	CostAtOne      runstore.Real `json:"cost_at_speedup_1"`
	Speedup        runstore.Real `json:"speedup"`
	SpeedupSource  string        `json:"speedup_source"`
	Cost           runstore.Real `json:"cost"` // at that speedup
	// The speedups from which on renting is cheaper than the machine: for this work with its start-up, and for work without end.
	// The first is null where no speed is enough.
	CheaperFrom     runstore.Real `json:"cheaper_from_speedup"`
	CheaperFromLong runstore.Real `json:"cheaper_from_speedup_long"`
	// After how many hours, and runs of the average length in a rental each, buying has cost less; null where it never does. Where
	// the speedup is unknown they are for one of 1.
	BuyAfterHours runstore.Real `json:"buying_pays_after_hours"`
	BuyAfterRuns  runstore.Real `json:"buying_pays_after_runs"`
	BuyMonthly    runstore.Real `json:"buying_pays_from_runs_a_month"`

	never bool // no speed is enough
}

// machineCost is a machine with its prices.
type machineCost struct {
	name  string
	watts float64 // NaN when unknown
	cost.Hardware
}

// report works everything out.
func (b *bill) report(runs []runstore.RunSummary) *costReport {
	b.r = &costReport{Currency: b.prices.Currency, Assumptions: []assumption{}, Runs: []runCost{}, Cloud: []cloudCost{}, Notes: []string{}}
	begun := slices.DeleteFunc(slices.Clone(runs), func(r runstore.RunSummary) bool { return !(wallSeconds(&r, b.now) > 0) })
	if n := len(runs) - len(begun); n > 0 {
		b.note("%s that training has not begun in cost nothing yet", countOf(n, "run"))
	}
	if len(begun) == 0 {
		return b.r
	}
	machines := b.machines(begun)
	for i := range begun {
		b.r.Runs = append(b.r.Runs, b.cost(&begun[i], machines[machineOfRun(&begun[i].Run)]))
	}
	b.r.Sum = sumOf(b.r.Runs)
	if len(machines) == 1 {
		b.r.machine = machines[machineOfRun(&begun[0].Run)]
	} else {
		b.note("the runs were made on %d machines: when buying one pays is told for runs of one", len(machines))
	}
	b.energyNotes(begun)
	b.assume(begun, machines)
	for i := range b.prices.Cloud {
		b.r.Cloud = append(b.r.Cloud, b.rent(&b.prices.Cloud[i], begun))
	}
	return b.r
}

func (b *bill) note(format string, a ...any) {
	b.r.Notes = append(b.r.Notes, fmt.Sprintf(format, a...))
}

// machines are those of the runs, by name.
func (b *bill) machines(runs []runstore.RunSummary) map[string]*machineCost {
	found := map[string]*machineCost{}
	for i := range runs {
		name := machineOfRun(&runs[i].Run)
		if found[name] != nil {
			continue
		}
		h := b.prices.Hardware
		m := &machineCost{name: name, watts: math.NaN(), Hardware: cost.Hardware{Price: h.Price, Years: h.Years, HoursPerDay: h.HoursPerDay}}
		if chip := b.chip(name); chip != nil {
			m.watts = chip.Watts
			if chip.Price > 0 {
				m.Price = chip.Price
			}
		}
		if b.watts > 0 {
			m.watts = b.watts
		}
		found[name] = m
	}
	return found
}

// chip finds what the prices say of a machine.
func (b *bill) chip(machine string) *configs.NamedChip {
	for i := range b.prices.Chips {
		if strings.EqualFold(b.prices.Chips[i].Name, machine) {
			return &b.prices.Chips[i]
		}
	}
	return nil
}

// measuredEnergy reports whether a run's energy is taken as it was measured. A flag stands above a measurement, and both above
// a chip's usual draw.
func (b *bill) measuredEnergy(r *runstore.RunSummary) bool {
	return b.watts == 0 && r.EnergyJoules.Finite()
}

// cost is what one run cost.
func (b *bill) cost(r *runstore.RunSummary, m *machineCost) runCost {
	seconds := wallSeconds(r, b.now)
	energy, source := cost.KWh(m.watts, seconds), "watts"
	switch {
	case b.measuredEnergy(r):
		energy, source = cost.KWhOfJoules(float64(r.EnergyJoules)), r.EnergySource
	case math.IsNaN(m.watts):
		source = ""
	}
	out := runCost{ID: r.ID, Name: r.Name, Status: statusOfRun(r), Machine: m.name, Device: r.Device, EnergySource: source}
	electricity, hardware := energy*b.prices.Electricity.PricePerKWh, m.Share(seconds)
	out.expenses = expenses{WallSeconds: runstore.Real(seconds), Tokens: r.Tokens, EnergyKWh: runstore.Real(energy),
		ElectricityCost: runstore.Real(electricity), HardwareCost: runstore.Real(hardware), TotalCost: runstore.Real(electricity + hardware),
		PerMillion: runstore.Real(cost.PerMillion(electricity+hardware, r.Tokens))}
	return out
}

// sumOf adds runs up. What is not known of one is not known of the sum.
func sumOf(runs []runCost) expenses {
	var sum expenses
	for i := range runs {
		e := &runs[i].expenses
		sum.WallSeconds, sum.Tokens, sum.EnergyKWh = sum.WallSeconds+e.WallSeconds, sum.Tokens+e.Tokens, sum.EnergyKWh+e.EnergyKWh
		sum.ElectricityCost, sum.HardwareCost = sum.ElectricityCost+e.ElectricityCost, sum.HardwareCost+e.HardwareCost
		sum.TotalCost += e.TotalCost
	}
	sum.PerMillion = runstore.Real(cost.PerMillion(float64(sum.TotalCost), sum.Tokens))
	return sum
}

// leftOut is what the sources of measured energy do not see.
var leftOut = map[string]string{
	"rapl":            "is the processor's alone: not memory, disks, screen or power supply",
	"nvidia-smi":      "is the graphics card's alone: not the rest of the machine",
	"nvidia-smi+rapl": "is the graphics card's and the processor's: not the rest of the machine",
	"proc_pid_rusage": "is that of the processor's cores alone: not the GPU, memory or screen",
}

// energyNotes says what is missing of the energy, once for each machine and source.
func (b *bill) energyNotes(runs []runstore.RunSummary) {
	said := map[string]bool{}
	once := func(key, format string, a ...any) {
		if !said[key] {
			said[key] = true
			b.note(format, a...)
		}
	}
	for i := range runs {
		machine := machineOfRun(&runs[i].Run)
		switch unseen := leftOut[runs[i].EnergySource]; {
		case b.measuredEnergy(&runs[i]) && unseen != "":
			once(runs[i].EnergySource, "energy that %s measured %s; --watts N reckons with the draw of the whole machine", runs[i].EnergySource, unseen)
		case !b.measuredEnergy(&runs[i]) && b.watts == 0 && b.chip(machine) == nil:
			once("on "+machine, "the electricity of runs on %s is not known, and so no total: nothing measured it, and no watts are given. "+
				"Give --watts N, or add to %s: chips: {%q: {watts: N}}", machine, b.chipsFile(), machine)
		}
		if !runs[i].Status.Ended() && !runs[i].Stale {
			once(runs[i].ID, "%s still runs: this is what it has cost so far", runs[i].ID)
		}
	}
}

// chipsFile is the file that watts belong in.
func (b *bill) chipsFile() string {
	if at := b.prices.Place("chips"); at != "default" {
		return at[:strings.LastIndexByte(at, ':')]
	}
	return pricesFile
}

// assume lists what the costs rest on.
func (b *bill) assume(runs []runstore.RunSummary, machines map[string]*machineCost) {
	p := b.prices
	add := func(key string, value any, unit, source, asOf string) {
		b.r.Assumptions = append(b.r.Assumptions, assumption{key, value, unit, p.Place(key), source, asOf})
	}
	add("electricity.price_per_kwh", p.Electricity.PricePerKWh, p.Currency+" a kWh", p.Electricity.Source, p.Electricity.AsOf)
	if b.watts > 0 {
		b.r.Assumptions = append(b.r.Assumptions, assumption{Key: "watts", Value: b.watts, Unit: "W", Place: "--watts"})
	}
	var names []string
	ofItsOwn := 0
	for name := range machines {
		names = append(names, name)
		if chip := b.chip(name); chip != nil && chip.Price > 0 {
			ofItsOwn++
		}
	}
	slices.Sort(names)
	if ofItsOwn < len(names) {
		add("hardware.price", p.Hardware.Price, p.Currency, p.Hardware.Source, p.Hardware.AsOf)
	}
	add("hardware.years", p.Hardware.Years, "years", p.Hardware.Source, p.Hardware.AsOf)
	add("hardware.hours_per_day", p.Hardware.HoursPerDay, "hours a day", p.Hardware.Source, p.Hardware.AsOf)
	for _, name := range names {
		chip := b.chip(name)
		if chip == nil {
			continue
		}
		if b.watts == 0 && slices.ContainsFunc(runs, func(r runstore.RunSummary) bool { return machineOfRun(&r.Run) == name && !b.measuredEnergy(&r) }) {
			add(configs.ChipKey(chip.Name)+".watts", chip.Watts, "W", chip.Source, chip.AsOf)
		}
		if chip.Price > 0 {
			add(configs.ChipKey(chip.Name)+".price", chip.Price, p.Currency, chip.Source, chip.AsOf)
		}
	}
	for i := range p.Cloud {
		g := &p.Cloud[i]
		key := configs.CloudKey(g.Name)
		add(key+".price_per_hour", g.PricePerHour, p.Currency+" an hour", g.Source, g.AsOf)
		add(key+".billed_per", g.BilledPer, "", g.Source, g.AsOf)
		add(key+".startup_minutes", g.StartupMinutes, "minutes", g.Source, g.AsOf)
		if g.Speedup > 0 {
			add(key+".speedup", g.Speedup, "times this machine", g.Source, g.AsOf)
		}
	}
}

// rent is what the work of all runs, one after the other in one rental, would have cost on a GPU.
func (b *bill) rent(g *configs.NamedCloudGPU, runs []runstore.RunSummary) cloudCost {
	rental := cost.Rental{PerHour: g.PricePerHour, BilledSeconds: g.BilledSeconds(), StartupSeconds: 60 * g.StartupMinutes}
	sum := &b.r.Sum
	work, total := float64(sum.WallSeconds), float64(sum.TotalCost)
	from := rental.SpeedupWithin(work, total)
	out := cloudCost{Name: g.Name, PricePerHour: runstore.Real(g.PricePerHour), BilledPer: g.BilledPer,
		StartupMinutes: runstore.Real(g.StartupMinutes), CostAtOne: runstore.Real(rental.Cost(work, 1)), Speedup: unmeasured, Cost: unmeasured,
		CheaperFrom: runstore.Real(from), never: math.IsInf(from, 1), CheaperFromLong: runstore.Real(g.PricePerHour / (total / work * 3600)),
		BuyAfterHours: unmeasured, BuyAfterRuns: unmeasured, BuyMonthly: unmeasured}
	speedup := 1.0
	if known, source := b.speedup(g, runs); source != "" {
		speedup = known
		out.Speedup, out.SpeedupSource, out.Cost = runstore.Real(known), source, runstore.Real(rental.Cost(work, known))
	}
	if m := b.r.machine; m != nil {
		n := float64(len(runs))
		hours := cost.BuyingPaysAfter(m.Price, float64(sum.ElectricityCost)/work*3600, g.PricePerHour/speedup)
		times := cost.BuyingPaysAfter(m.Price, float64(sum.ElectricityCost)/n, rental.Cost(work/n, speedup))
		out.BuyAfterHours, out.BuyAfterRuns, out.BuyMonthly = runstore.Real(hours), runstore.Real(times), runstore.Real(m.Monthly(times))
	}
	return out
}

// speedup is how many times this machine's tokens a second a GPU makes, and how that is known; no source where it is not.
func (b *bill) speedup(g *configs.NamedCloudGPU, runs []runstore.RunSummary) (times float64, source string) {
	if g.Speedup > 0 {
		return g.Speedup, "stated, " + b.prices.Place(configs.CloudKey(g.Name)+".speedup")
	}
	if g.GPU == "" {
		return 0, ""
	}
	model, batch, tokens, seconds := observedRun(&measuredRun{RunSummary: runs[0]}).key.ModelSHA256, runs[0].BatchSize, 0.0, 0.0
	for i := range runs {
		if observedRun(&measuredRun{RunSummary: runs[i]}).key.ModelSHA256 != model {
			return 0, "" // of several models no one measurement tells
		}
		if runs[i].StepSeconds > 0 {
			tokens, seconds = tokens+float64(runs[i].Tokens), seconds+float64(runs[i].StepSeconds)
		}
	}
	there := b.speeds.newest(g.GPU, model, batch)
	if there == nil || seconds == 0 {
		return 0, ""
	}
	here := tokens / seconds
	source = fmt.Sprintf("measured: %s tok/s at batch %d there on %s, %s at batch %d here", perSecondText(float64(there.speed)), there.key.BatchSize,
		there.at.Local().Format(time.DateOnly), perSecondText(here), batch)
	return float64(there.speed) / here, source
}

// newest finds the newest measurement of training a model on a device, one with the same batch before all others; nil for none.
func (s *speeds) newest(device, model string, batch int) *observation {
	var best *observation
	for _, o := range s.observations() {
		if o.key.Kind == string(runstore.BenchmarkGenerate) || !strings.EqualFold(o.key.Machine, device) || o.key.ModelSHA256 != model || !(o.speed > 0) {
			continue
		}
		same := o.key.BatchSize == batch
		if best == nil || same != (best.key.BatchSize == batch) && same || same == (best.key.BatchSize == batch) && o.at.After(best.at) {
			best = &o
		}
	}
	return best
}

// add joins what another reading has found.
func (s *speeds) add(other *speeds) {
	s.benchmarks = append(s.benchmarks, other.benchmarks...)
	s.runs = append(s.runs, other.runs...)
}

// draw writes a picture of what hours of training cost, bought and rented.
func (b *bill) draw(path string, format chart.Format, r *costReport, opt chart.Options) error {
	m := r.machine
	switch {
	case m == nil:
		return badInput{errors.New("tune cost: --out: want runs of one machine"), "name runs that were made on the same one"}
	case !r.Sum.ElectricityCost.Finite():
		return badInput{fmt.Errorf("tune cost: --out: the electricity of %s is not known", m.name), "--watts N says what it draws; so does chips in " + pricesFile}
	}
	own := chart.Expense{Name: m.name, Upfront: m.Price, PerHour: float64(r.Sum.ElectricityCost/r.Sum.WallSeconds) * 3600}
	var rented []chart.Expense
	hours, last := m.LifeHours(), 0.0
	for i := range r.Cloud {
		g := &r.Cloud[i]
		e := chart.Expense{Name: g.Name, PerHour: float64(g.PricePerHour), Assumed: !g.Speedup.Finite()}
		if g.Speedup.Finite() {
			e.Name, e.PerHour = fmt.Sprintf("%s, %s", g.Name, timesText(g.Speedup)), e.PerHour/float64(g.Speedup)
		}
		rented = append(rented, e)
		last = max(last, orInfinite(g.BuyAfterHours))
	}
	if last > 0 && 1.25*last < hours { // behind the last crossing nothing happens
		hours = 1.25 * last
	}
	if opt.Title == "" {
		opt.Title = fmt.Sprintf("Training on %s or on rented GPUs", m.name)
	}
	var picture bytes.Buffer
	if err := chart.CostFigure(&picture, format, own, rented, hours, b.prices.Currency, opt); err != nil {
		return badInput{fmt.Errorf("tune cost: %w", errors.New(strings.TrimPrefix(err.Error(), "chart: "))), ""}
	}
	if err := replaceFile(path, picture.Bytes()); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("there is no folder %s", filepath.Dir(path))
		}
		return fmt.Errorf("tune cost: --out %s: %w", path, err)
	}
	return nil
}

// orInfinite is a number that is never reached where it is not known.
func orInfinite(v runstore.Real) float64 {
	if !v.Finite() {
		return math.Inf(1)
	}
	return float64(v)
}
