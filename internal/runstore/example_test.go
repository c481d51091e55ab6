package runstore_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"tune/internal/runstore"
)

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "runs")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	store, err := runstore.Open(filepath.Join(dir, "runs.db"))
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()

	ctx := context.Background()
	id := runstore.NewID("bluey", time.Now())
	for _, err := range []error{
		store.CreateRun(ctx, runstore.Run{ID: id, Name: "bluey", Method: "lora", ModelPath: "models/pocket"}),
		store.StartRun(ctx, id),
		store.RecordStep(ctx, id, runstore.Step{Step: 1, Loss: 4.5, Tokens: 400, Seconds: 0.5}),
		store.RecordStep(ctx, id, runstore.Step{Step: 2, Loss: 4.25, Tokens: 400, Seconds: 0.3}),
		store.FinishRun(ctx, id, runstore.Finish{Status: runstore.Done, WallSeconds: 1}),
	} {
		if err != nil {
			log.Fatal(err)
		}
	}

	run, err := store.Run(ctx, "bluey") // by name, id, start of an id, or "last"
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(run.Name, run.Status, run.StepsDone, run.FirstLoss, run.LastLoss, run.TokensPerSecond)
	// Output: bluey done 2 4.5 4.25 1000
}
