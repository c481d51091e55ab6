package configs

// allLinear is PEFT's word for every linear module but the output layer.
const allLinear = "all-linear"

// LinearModules returns the modules that an adapter can sit on, in the order of a layer.
func LinearModules() []string {
	return []string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
}

// expandAllLinear writes out the list [all-linear] and leaves every other as it is.
func expandAllLinear(modules []string) []string {
	if len(modules) == 1 && modules[0] == allLinear {
		return LinearModules()
	}
	return modules
}
