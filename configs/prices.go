package configs

import (
	"bytes"
	_ "embed" // the shipped prices
	"fmt"
	"reflect"
	"strings"
	"unicode"
)

// ShippedPrices is the text of prices.yaml as it ships.
//
//go:embed prices.yaml
var ShippedPrices []byte

// Prices is what a comparison of costs rests on, each number with the place it was written at.
type Prices struct {
	// Currency is the label of every amount; nothing is converted.
	Currency    string           `yaml:"currency"`
	Electricity ElectricityPrice `yaml:"electricity"`
	Hardware    HardwarePrice    `yaml:"hardware"`
	// Chips are what machines draw, by chip, or by graphics card for runs on CUDA.
	Chips []NamedChip `yaml:"chips"`
	// Cloud are the GPUs that can be rented, in the order of the file.
	Cloud []NamedCloudGPU `yaml:"cloud"`

	places map[string]string `yaml:"-"` // by dotted key: "prices.yaml:7"; absent for what ships
}

// ElectricityPrice is the price of energy.
type ElectricityPrice struct {
	PricePerKWh float64 `yaml:"price_per_kwh"`
	Source      string  `yaml:"source"`
	AsOf        string  `yaml:"as_of"`
}

// HardwarePrice is the price of a machine and how long it is used.
type HardwarePrice struct {
	Price       float64 `yaml:"price"`
	Years       float64 `yaml:"years"`
	HoursPerDay float64 `yaml:"hours_per_day"`
	Source      string  `yaml:"source"`
	AsOf        string  `yaml:"as_of"`
}

// ChipPrice is what is known of machines with a chip.
type ChipPrice struct {
	Watts  float64 `yaml:"watts"` // while it trains
	Price  float64 `yaml:"price"` // of the machine; 0 takes the hardware's
	Source string  `yaml:"source"`
	AsOf   string  `yaml:"as_of"`
}

// CloudGPU is a GPU that is paid by the hour.
type CloudGPU struct {
	PricePerHour   float64 `yaml:"price_per_hour"`
	BilledPer      string  `yaml:"billed_per"` // second, minute or hour: a started one is paid whole
	StartupMinutes float64 `yaml:"startup_minutes"`
	Speedup        float64 `yaml:"speedup"` // times this machine's tokens a second; 0 when unknown
	GPU            string  `yaml:"gpu"`     // the device's name in benchmarks; empty when unknown
	Source         string  `yaml:"source"`
	AsOf           string  `yaml:"as_of"`
}

// NamedChip is a line of chips.
type NamedChip struct {
	Name string
	ChipPrice
}

// NamedCloudGPU is a line of cloud.
type NamedCloudGPU struct {
	Name string
	CloudGPU
}

// BilledSeconds returns the unit of the bill in seconds.
func (g *CloudGPU) BilledSeconds() float64 {
	return map[string]float64{"second": 1, "minute": 60, "hour": 3600}[g.BilledPer]
}

// Place returns where the value of a dotted key was written, such as "prices.yaml:7", or "default" for what ships.
func (p *Prices) Place(key string) string {
	if at, ok := p.places[key]; ok {
		return at
	}
	return "default"
}

// ChipKey is the dotted key of a chip.
func ChipKey(name string) string { return fmt.Sprintf("chips[%q]", name) }

// CloudKey is the dotted key of a cloud GPU.
func CloudKey(name string) string { return fmt.Sprintf("cloud[%q]", name) }

// LoadPrices returns the shipped prices with those of the file at path over them; an empty path is the shipped ones alone.
// The file's chips and cloud replace the shipped ones whole, and so does the source of a price that the file gives.
//
// Errors: as those of [Load]. A file in another currency than the shipped one must give every price itself.
func LoadPrices(path string) (*Prices, error) {
	p := &Prices{places: map[string]string{}}
	if err := p.read("prices.yaml", ShippedPrices, true); err != nil || path == "" {
		return p, err
	}
	src, err := readSmall(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	if err := p.read(path, src, false); err != nil {
		return nil, err
	}
	return p, nil
}

// read puts the prices of a text over those that are there.
func (p *Prices) read(name string, src []byte, shipped bool) error {
	b := newBinder(name, suggestPrice)
	before := *p
	p.Chips, p.Cloud = nil, nil // lists are replaced whole
	root, line, problem := parseYAML(bytes.TrimPrefix(src, []byte("\ufeff")))
	switch {
	case problem != "":
		b.failed[""] = true
		b.problems = append(b.problems, origin{line: line}.problem(name, "", problem))
	case root != nil:
		b.value(root, "", reflect.ValueOf(p).Elem())
	}
	given := func(key string) bool { _, ok := b.origins[key]; return ok }
	if !given("chips") {
		p.Chips = before.Chips
	}
	if !given("cloud") {
		p.Cloud = before.Cloud
	}
	for _, x := range p.problems(given) {
		switch entry, _ := splitKey(x.Key); {
		case b.unread(x.Key):
		case !given(x.Key) && given(entry): // a line of a list has a place, what it lacks has none
			b.problems = append(b.problems, b.origins[entry].problem(name, x.Key, x.Text))
		default:
			b.problems = append(b.problems, b.locate(x))
		}
	}
	if shipped {
		return join(b.problems)
	}
	if p.Currency != before.Currency {
		b.problems = append(b.problems, p.foreign(b, before.Currency)...)
	}
	p.dropSource(given, "electricity.price_per_kwh", &p.Electricity.Source, &p.Electricity.AsOf)
	p.dropSource(given, "hardware.price", &p.Hardware.Source, &p.Hardware.AsOf)
	for key, at := range b.origins {
		p.places[key] = fmt.Sprintf("%s:%d", name, at.line)
	}
	return join(b.problems)
}

// dropSource forgets where a price comes from and of when it is, as that was said of another one.
func (p *Prices) dropSource(given func(key string) bool, price string, source, asOf *string) {
	section, _ := splitKey(price)
	if given(price) && !given(section+".source") {
		*source = ""
	}
	if given(price) && !given(section+".as_of") {
		*asOf = ""
	}
}

// foreign lists the prices that a file in another currency leaves to the defaults.
func (p *Prices) foreign(b *binder, shipped string) []*Problem {
	var out []*Problem
	for _, key := range []string{"electricity.price_per_kwh", "hardware.price", "cloud"} {
		if _, ok := b.origins[key]; !ok && !b.unread(key) {
			out = append(out, b.locate(&Problem{Key: "currency",
				Text: fmt.Sprintf("is %s, but %s is left to the default, which is in %s: give it too", p.Currency, key, shipped)}))
		}
	}
	return out
}

// problems checks everything, in the order of the schema.
func (p *Prices) problems(given func(key string) bool) []*Problem {
	check := &checker{}
	oneLine := func(key, text string) {
		if strings.ContainsFunc(text, unicode.IsControl) {
			check.bad(key, "must be one line of text without control characters, got %q", text)
		}
	}
	if strings.TrimSpace(p.Currency) == "" || len(p.Currency) > 10 {
		check.bad("currency", "want a short label such as USD, got %q", p.Currency)
	}
	oneLine("currency", p.Currency)
	positive := func(key string, v, most float64) {
		switch {
		case v == 0 && !given(key):
			check.bad(key, "is missing: want a number above 0")
		case !(v > 0 && v <= most):
			check.bad(key, "must be above 0 and at most %g, got %g", most, v)
		}
	}
	positive("electricity.price_per_kwh", p.Electricity.PricePerKWh, mostPrice)
	positive("hardware.price", p.Hardware.Price, mostPrice)
	positive("hardware.years", p.Hardware.Years, 100)
	positive("hardware.hours_per_day", p.Hardware.HoursPerDay, 24)
	for _, c := range p.Chips {
		if !given("chips") { // but shipped
			break
		}
		key := ChipKey(c.Name)
		oneLine(key, c.Name)
		positive(key+".watts", c.Watts, mostPrice)
		if given(key + ".price") {
			positive(key+".price", c.Price, mostPrice)
		}
	}
	for i := range p.Cloud {
		if !given("cloud") {
			break
		}
		p.Cloud[i].check(check, given, oneLine, positive)
	}
	return check.problems
}

const mostPrice = 1e9 // far above anything, and low enough that sums stay exact to the cent

func (g *NamedCloudGPU) check(check *checker, given func(string) bool, oneLine func(key, text string), positive func(key string, v, most float64)) {
	key := CloudKey(g.Name)
	oneLine(key, g.Name)
	positive(key+".price_per_hour", g.PricePerHour, mostPrice)
	check.oneOf(key+".billed_per", g.BilledPer, "second", "minute", "hour")
	switch minutes := g.StartupMinutes; {
	case !given(key + ".startup_minutes"):
		check.bad(key+".startup_minutes", "is missing: minutes that are paid before training begins, 0 for none")
	case !(minutes >= 0 && minutes <= 1e6):
		check.bad(key+".startup_minutes", "must be from 0 to 1e+06, got %g", minutes)
	}
	if given(key + ".speedup") {
		positive(key+".speedup", g.Speedup, 1e6)
	}
}

// suggestPrice looks for what an unknown key of prices may have meant: a near word in the same section, or its keys.
func suggestPrice(full string) string {
	section, name := splitKey(full)
	t := reflect.TypeFor[Prices]()
	switch {
	case strings.HasPrefix(section, "chips["):
		t = reflect.TypeFor[ChipPrice]()
	case strings.HasPrefix(section, "cloud["):
		t = reflect.TypeFor[CloudGPU]()
	case section == "electricity":
		t = reflect.TypeFor[ElectricityPrice]()
	case section == "hardware":
		t = reflect.TypeFor[HardwarePrice]()
	}
	var have []string
	for i := range t.NumField() {
		if tag := t.Field(i).Tag.Get("yaml"); tag != "" {
			have = append(have, tag)
		}
	}
	for _, key := range have {
		if strings.HasPrefix(key, name+"_") { // price, where it is price_per_hour
			return didYouMean(key)
		}
	}
	if near := Nearest(name, have); near != "" {
		return didYouMean(near)
	}
	return " (have " + strings.Join(have, ", ") + ")"
}
