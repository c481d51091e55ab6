package configs_test

import (
	"fmt"

	"tune/configs"
)

func ExampleLoad() {
	_, err := configs.Load("bluey.yaml", []string{"lora.rank=0", "train.max_stpes=20"})
	fmt.Println(err)
	// Output:
	// --set train.max_stpes=20: unknown key "train.max_stpes", did you mean "train.max_steps"?
	// --set lora.rank=0: must be at least 1, got 0
}
