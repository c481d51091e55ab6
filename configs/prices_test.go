package configs_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tune/configs"
	"tune/internal/bounded"
)

// TestShippedPrices: they can be read, and each says where it comes from and of when it is.
func TestShippedPrices(t *testing.T) {
	p, err := configs.LoadPrices("")
	if err != nil {
		t.Fatal(err)
	}
	onDisk, err := os.ReadFile("prices.yaml")
	if err != nil || !bytes.Equal(onDisk, configs.ShippedPrices) {
		t.Errorf("what is printed is not prices.yaml: %v", err)
	}
	sources := map[string][2]string{"electricity": {p.Electricity.Source, p.Electricity.AsOf}, "hardware": {p.Hardware.Source, p.Hardware.AsOf}}
	for _, c := range p.Chips {
		sources[c.Name] = [2]string{c.Source, c.AsOf}
	}
	for _, g := range p.Cloud {
		sources[g.Name] = [2]string{g.Source, g.AsOf}
		if g.Speedup != 0 {
			t.Errorf("%s: ships with a speedup, which nobody has measured", g.Name)
		}
		if g.GPU == "" || g.BilledSeconds() == 0 {
			t.Errorf("%s: %+v", g.Name, g)
		}
	}
	if len(p.Chips) < 3 || len(p.Cloud) < 3 {
		t.Errorf("%d chips, %d GPUs", len(p.Chips), len(p.Cloud))
	}
	for name, s := range sources {
		if s[0] == "" || s[1] == "" {
			t.Errorf("%s: source %q, as_of %q", name, s[0], s[1])
		}
	}
	if at := p.Place("electricity.price_per_kwh"); at != "default" {
		t.Errorf("place %q", at)
	}
}

func writePrices(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "prices.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestPricesOverTheShippedOnes: what a file gives counts, with its place; the rest is what ships.
func TestPricesOverTheShippedOnes(t *testing.T) {
	path := writePrices(t, `electricity:
  price_per_kwh: 0.4
hardware: {years: 6}
chips:
  My chip 2.5: {watts: 30, price: 999}
`)
	p, err := configs.LoadPrices(path)
	if err != nil {
		t.Fatal(err)
	}
	shipped, err := configs.LoadPrices("")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name      string
		got, want any
	}{
		{"given", p.Electricity.PricePerKWh, 0.4}, {"its place", p.Place("electricity.price_per_kwh"), path + ":2"},
		{"the source of another price", p.Electricity.Source + p.Electricity.AsOf, ""},
		{"one key of a section", p.Hardware.Years, 6.0}, {"its place", p.Place("hardware.years"), path + ":3"},
		{"the others", p.Hardware.Price, shipped.Hardware.Price}, {"their place", p.Place("hardware.price"), "default"},
		{"a price that ships keeps its source", p.Hardware.Source, shipped.Hardware.Source},
		{"chips are replaced", len(p.Chips), 1}, {"watts", p.Chips[0].Watts, 30.0}, {"name", p.Chips[0].Name, "My chip 2.5"},
		{"place of watts", p.Place(configs.ChipKey("My chip 2.5") + ".watts"), path + ":5"},
		{"cloud stays", len(p.Cloud), len(shipped.Cloud)},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: got %v, want %v", tc.name, tc.got, tc.want)
		}
	}
	for _, empty := range []string{"", "cloud: {}\n", "hardware:\n"} {
		if _, err := configs.LoadPrices(writePrices(t, empty)); err != nil {
			t.Errorf("%q: %v", empty, err)
		}
	}
}

func TestPricesRefused(t *testing.T) {
	gpu := func(keys string) string { return "cloud:\n  Card:\n    " + keys + "\n" }
	const rest = "billed_per: hour\n    startup_minutes: 0"
	for _, tc := range []struct{ name, text, want string }{
		{"zero", "electricity: {price_per_kwh: 0}", ":1: electricity.price_per_kwh: must be above 0 and at most 1e+09, got 0"},
		{"negative", "hardware:\n  price: -5", ":2: hardware.price: must be above 0"},
		{"NaN", "hardware: {price: .nan}", "hardware.price: must be above 0 and at most 1e+09, got NaN"},
		{"infinite", "chips: {A: {watts: .inf}}", `chips["A"].watts: must be above 0 and at most 1e+09, got +Inf`},
		{"more than a day", "hardware: {hours_per_day: 25}", "hardware.hours_per_day: must be above 0 and at most 24, got 25"},
		{"no watts", "chips:\n  A: {source: x}", `:2: chips["A"].watts: is missing`},
		{"a chip's price of 0", "chips: {A: {watts: 1, price: 0}}", `chips["A"].price: must be above 0`},
		{"a chip that is a number", "chips: {A: 30}", `chips["A"]: want keys and values, got 30`},
		{"chips that are a list", "chips: [30]", "chips: want names with keys and values each, got a list"},
		{"a word for a number", "electricity: {price_per_kwh: cheap}", `want a number, got the text "cheap"`},
		{"no price", gpu(rest), `:3: cloud["Card"].price_per_hour: is missing`},
		{"a speedup of 0", gpu("price_per_hour: 1\n    speedup: 0\n    " + rest), `:4: cloud["Card"].speedup: must be above 0`},
		{"no start-up", gpu("price_per_hour: 1\n    billed_per: hour"), `:3: cloud["Card"].startup_minutes: is missing`},
		{"a negative start-up", gpu("price_per_hour: 1\n    billed_per: hour\n    startup_minutes: -1"), `startup_minutes: must be from 0`},
		{"a unit", gpu("price_per_hour: 1\n    billed_per: day\n    startup_minutes: 1"), `cloud["Card"].billed_per`},
		{"twice", "chips:\n  A: {watts: 1}\n  A: {watts: 2}", `chips["A"]: is given twice`},
		{"an unknown section", "electricty: {price_per_kwh: 1}", `:1: unknown key "electricty", did you mean "electricity"?`},
		{"an unknown key", "hardware:\n  price: 3\n  year: 2", `:3: unknown key "hardware.year", did you mean "years"?`},
		{"an unknown key of a GPU", gpu("price: 3\n    " + rest), `unknown key "cloud[\"Card\"].price", did you mean "price_per_hour"?`},
		{"an unknown key of a chip", "chips: {A 1.5: {wats: 3}}", `did you mean "watts"?`},
		{"a key that is nothing like any", "hardware: {zzzzzzzzz: 3}", "(have price, years, hours_per_day, source, as_of)"},
		{"an empty key", "\"\": 3", `unknown key ""`},
		{"another currency", "currency: EUR\nhardware: {price: 3}", ":1: currency: is EUR, but electricity.price_per_kwh is left to the default, which is in USD"},
		{"no currency", "currency: ''", "currency: want a short label"},
		{"no YAML", "electricity: [", "not valid YAML"},
	} {
		path := writePrices(t, tc.text)
		_, err := configs.LoadPrices(path)
		if !errors.Is(err, configs.ErrInvalid) || !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), path) {
			t.Errorf("%s: want %q in:\n%v", tc.name, tc.want, err)
		}
	}
	if _, err := configs.LoadPrices(filepath.Join(t.TempDir(), "none.yaml")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// FuzzLoadPrices: any text gives prices, or an error that says so, and never a panic.
func FuzzLoadPrices(f *testing.F) {
	f.Add(string(configs.ShippedPrices))
	f.Add("electricity: {price_per_kwh: 0.3}\nhardware: {price: 0, years: -1}\nchips: {x: {watts: 5}}\n")
	f.Add("currency: EUR\ncloud: {\"\": , y: {price_per_hour: .inf, billed_per: day}}\ncloud: 3\n")
	f.Fuzz(func(t *testing.T, src string) {
		if len(src) > 8192 {
			return
		}
		path := filepath.Join(t.TempDir(), "prices.yaml")
		if err := os.WriteFile(path, []byte(src), 0o644); err != nil {
			t.Fatal(err)
		}
		var p *configs.Prices
		var err error
		bounded.Run(t, len(src)+len(configs.ShippedPrices), 20000, func() { p, err = configs.LoadPrices(path) })
		if (p == nil) == (err == nil) {
			t.Errorf("%v, %v: want prices or an error", p, err)
		}
		if err != nil && !errors.Is(err, configs.ErrInvalid) {
			t.Errorf("%v: want ErrInvalid", err)
		}
	})
}
