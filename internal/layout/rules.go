package layout

// A rule says what one package may import besides the standard library.
type rule struct {
	pkg   string   // path inside the module; "tools/*" stands for every package right below tools
	may   []string // packages of the module
	libs  []string // modules of others, by the path that their packages begin with
	torch bool     // may reach libtorch; without it the package builds and tests on a machine that has none
}

// rules is the map of docs/style.md, top to bottom. What stands above may import what stands below, as far as may says so.
var rules = []rule{
	{
		pkg: "cmd/tune", // the command line wires everything together
		may: []string{"trainer", "adapters", "datasets", "configs", "internal/model", "internal/torch",
			"internal/checkpoint", "internal/adapterfile", "internal/gguf", "internal/plan", "internal/tokenizer",
			"internal/safetensors", "internal/dashboard", "internal/report", "internal/runstore", "internal/chart", "internal/machine",
			"internal/files", "internal/filelock", "internal/hub", "internal/runexport", "internal/cost"},
		libs: []string{"github.com/urfave/cli", "github.com/schollz/progressbar", "golang.org/x/term",
			"golang.org/x/sys"},
		torch: true,
	},
	{
		pkg: "tools/*", // what writes the data, models and pictures that ship with the repository
		may: []string{"configs", "datasets", "internal/tokenizer", "internal/safetensors", "internal/files",
			"internal/chart"},
		torch: false,
	},
	{
		pkg: "trainer",
		may: []string{"adapters", "datasets", "configs", "internal/model", "internal/checkpoint", "internal/torch",
			"internal/tokenizer", "internal/files", "internal/safetensors"},
		torch: true,
	},
	{
		pkg: "adapters",
		may: []string{"configs", "internal/model", "internal/checkpoint", "internal/adapterfile",
			"internal/safetensors", "internal/torch", "internal/files"},
		torch: true,
	},
	{pkg: "internal/plan", may: []string{"configs", "internal/adapterfile", "internal/checkpoint"}},
	{pkg: "datasets", may: []string{"configs", "internal/tokenizer"}},
	{pkg: "configs", may: []string{"internal/checkpoint"}, libs: []string{"github.com/goccy/go-yaml"}},
	{
		pkg:   "internal/model",
		may:   []string{"internal/checkpoint", "internal/safetensors", "internal/torch"},
		torch: true,
	},
	{pkg: "internal/torch", libs: []string{binding + "/libtch"}, torch: true},
	{pkg: "internal/golden", may: []string{"internal/safetensors"}},
	{pkg: "internal/bounded"},
	{pkg: "internal/gguf", may: []string{"internal/adapterfile", "internal/checkpoint", "internal/safetensors",
		"internal/tokenizer", "internal/files"}},
	{pkg: "internal/adapterfile", may: []string{"internal/checkpoint", "internal/safetensors", "internal/files"}},
	{pkg: "internal/checkpoint"},
	{pkg: "internal/tokenizer", libs: []string{"github.com/mitsuhiko/minijinja/minijinja-go"}},
	{pkg: "internal/safetensors", may: []string{"internal/files"}, libs: []string{"golang.org/x/sys"}},
	{pkg: "internal/dashboard", may: []string{"internal/runstore", "internal/chart", "internal/web"}},
	{pkg: "internal/report", may: []string{"internal/runstore", "internal/chart", "internal/web"}},
	{pkg: "internal/runexport", may: []string{"internal/runstore"}, libs: []string{"github.com/parquet-go/parquet-go"}},
	{pkg: "internal/web", may: []string{"internal/runstore", "internal/chart"}},
	{pkg: "internal/web/webtest"},
	{pkg: "internal/runstore", may: []string{"internal/machine"}, libs: []string{"github.com/mattn/go-sqlite3"}},
	{pkg: "internal/chart", libs: []string{"gonum.org/v1/plot", "golang.org/x/image"}},
	{pkg: "internal/cost"},
	{pkg: "internal/machine", libs: []string{"golang.org/x/sys"}},
	{pkg: "internal/hub", may: []string{"internal/filelock"}, libs: []string{"golang.org/x/sys"}},
	{pkg: "internal/hub/hubtest"},
	{pkg: "internal/files"},
	{pkg: "internal/filelock", libs: []string{"golang.org/x/sys"}},
	{pkg: "internal/layout"},
}

const (
	module  = "tune"
	binding = "github.com/sugarme/gotch"
	torch   = "internal/torch" // the only importer of the binding
)

// forTests is what test files may import in every package, on top of what the package itself may.
var forTests = struct{ may, libs []string }{
	may: []string{"internal/hub/hubtest", "internal/web/webtest", "internal/golden", "internal/bounded", "internal/safetensors", "internal/gguf",
		"internal/tokenizer"},
	libs: []string{"github.com/google/go-cmp", "pgregory.net/rapid", "github.com/rogpeppe/go-internal",
		"github.com/gpustack/gguf-parser-go", "github.com/chromedp/chromedp",
		"github.com/chromedp/cdproto"},
}
