package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"tune/internal/checkpoint"
	"tune/internal/machine"
	"tune/internal/torch"
)

func benchProductsCommand() *cli.Command {
	return &cli.Command{
		Name:  "products",
		Usage: "measure the matrix products that a model's training steps consist of",
		Description: "Times products of the layers' widest weight and of the LM head, forward and backward: how fast a step could\n" +
			"be if it had nothing else to do.\n\n" +
			"   tune bench products --model build/bench/270m-bf16 --dtype bfloat16",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "model", Usage: "`FOLDER` of the model; only its config.json is read"},
			&cli.StringFlag{Name: "dtype", Usage: "auto, bfloat16 or float32", Value: "auto"},
			&cli.StringFlag{Name: "device", Usage: "auto, mps, cuda or cpu", Value: "auto"},
			&cli.IntFlag{Name: "threads", Usage: "compute with `N` threads on the CPU; 0 for one a core"},
			&cli.IntFlag{Name: "rows", Usage: "tokens that the layers' product has, `N`", Value: 420},
			&cli.IntFlag{Name: "head-rows", Usage: "tokens that the head's product has, `N`", Value: 256},
			jsonFlag(),
		},
		Action: benchProducts,
	}
}

// productRates are speeds of matrix products, in 10⁹ operations a second.
type productRates struct {
	Tool           string  `json:"tool"`
	Libtorch       string  `json:"libtorch"`
	Model          string  `json:"model"`
	Device         string  `json:"device"`
	DType          string  `json:"dtype"`
	Threads        int     `json:"threads"`
	LayersShape    []int64 `json:"layers_shape"` // N, D, F
	LayersForward  float64 `json:"layers_forward_gflops"`
	LayersBackward float64 `json:"layers_backward_gflops"`
	HeadShape      []int64 `json:"head_shape"` // N, D, V
	HeadForward    float64 `json:"head_forward_gflops"`
	HeadBackward   float64 `json:"head_backward_gflops"`
}

func benchProducts(c *cli.Context) error {
	if err := errors.Join(noArguments(c), oneOf(c, "dtype", "auto", "bfloat16", "float32"), atLeast(c, "threads", 0),
		atLeast(c, "rows", 1), atLeast(c, "head-rows", 1)); err != nil {
		return err
	}
	if c.String("model") == "" {
		return badInput{fmt.Errorf("%s: want --model", commandOf(c)), "bench/make_model.py makes one"}
	}
	config, err := checkpoint.ReadConfig(c.String("model"))
	if err != nil {
		return badInput{err, "--model must name a folder with config.json"}
	}
	device, err := torch.ParseDevice(c.String("device"))
	if err != nil {
		return badInput{fmt.Errorf("--device: %w", err), "tune doctor shows what this machine has"}
	}
	torch.SetThreads(cmp.Or(c.Int("threads"), machine.PhysicalCores()))
	dtype := chooseDType(c.String("dtype"), device)
	r := productRates{Tool: "tune bench products", Libtorch: torch.Version(), Model: c.String("model"), Device: device.String(),
		DType: dtype.String(), Threads: torch.Threads(),
		LayersShape: []int64{int64(c.Int("rows")), config.HiddenSize, config.IntermediateSize},
		HeadShape:   []int64{int64(c.Int("head-rows")), config.HiddenSize, config.VocabSize}}
	if r.LayersForward, r.LayersBackward, err = timeProducts(device, dtype, r.LayersShape); err == nil {
		r.HeadForward, r.HeadBackward, err = timeProducts(device, dtype, r.HeadShape)
	}
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return json.NewEncoder(c.App.Writer).Encode(r)
	}
	fmt.Fprintf(c.App.Writer, "%s, %s, %s, in GFLOP/s\n\n", r.Device, r.DType, countOf(r.Threads, "thread"))
	shape := func(s []int64) string { return fmt.Sprintf("%d x %d x %d", s[0], s[1], s[2]) }
	return screenOf(c.App.Writer).writeTable(c.App.Writer, []tableColumn{
		{title: "", cells: []string{"layers", "head"}},
		{title: "shape", cells: []string{shape(r.LayersShape), shape(r.HeadShape)}},
		{title: "forward", right: true, cells: []string{fmt.Sprintf("%.0f", r.LayersForward), fmt.Sprintf("%.0f", r.HeadForward)}},
		{title: "backward", right: true, cells: []string{fmt.Sprintf("%.0f", r.LayersBackward), fmt.Sprintf("%.0f", r.HeadBackward)}},
	})
}

// timeProducts times x·Wᵀ and the gradient of x, g·W, and returns 10⁹ operations a second of each, by the median of
// as many calls as a second has room for, at least five.
//
// Shapes: x (N, in), W (out, in), g (N, out), as shape N, in, out.
func timeProducts(device torch.Device, dtype torch.DType, shape []int64) (forward, backward float64, err error) {
	n, in, out := shape[0], shape[1], shape[2]
	err = torch.Run(func(s *torch.Scope) error {
		w := s.Zeros(dtype, device, out, in)
		x, g := s.Zeros(dtype, device, n, in), s.Zeros(dtype, device, n, out)
		rate := func(product func(s *torch.Scope)) (float64, error) {
			const room, least = time.Second, 5
			var took []float64
			for began := time.Now(); len(took) <= least || time.Since(began) < room; {
				device.Synchronize()
				start := time.Now()
				err := s.Nest(func(s *torch.Scope) error { product(s); device.Synchronize(); return s.Err() })
				if err != nil {
					return 0, err
				}
				took = append(took, time.Since(start).Seconds())
			}
			took = took[1:] // the first makes kernels and threads
			slices.Sort(took)
			return rounded(2*float64(n)*float64(in)*float64(out)/took[len(took)/2]/1e9, 1), nil
		}
		if forward, err = rate(func(s *torch.Scope) { s.Linear(x, w) }); err != nil {
			return err
		}
		backward, err = rate(func(s *torch.Scope) { s.MatMul(g, w) })
		return err
	})
	return forward, backward, err
}
