package torch

// #include "shim.h"
import "C"

import (
	"fmt"
	"strings"
)

// Device is where a tensor lives and is computed on.
type Device int

// The devices, numbered as in shim.h.
const (
	CPU  Device = 0
	CUDA Device = 1
	MPS  Device = 2
)

func (d Device) String() string {
	switch d {
	case CPU:
		return "cpu"
	case CUDA:
		return "cuda"
	case MPS:
		return "mps"
	}
	return fmt.Sprintf("device %d", int(d))
}

// Devices returns the devices present, the preferred one first: mps, cuda, cpu.
func Devices() []Device {
	var present []Device
	for _, d := range []Device{MPS, CUDA, CPU} {
		if C.tune_device_available(C.int(d)) != 0 {
			present = append(present, d)
		}
	}
	return present
}

// ParseDevice reads auto, mps, cuda or cpu. A device that is absent is an error that names what is present.
func ParseDevice(name string) (Device, error) {
	present := Devices()
	if name == "auto" || name == "" {
		return present[0], nil
	}
	var names []string
	for _, d := range present {
		if d.String() == name {
			return d, nil
		}
		names = append(names, d.String())
	}
	switch name {
	case "cpu", "cuda", "mps":
		return 0, fmt.Errorf("device %s is not present (have %s)", name, strings.Join(names, ", "))
	}
	return 0, fmt.Errorf("unknown device %q (want auto, mps, cuda or cpu)", name)
}

// Name returns what the maker calls the device, or "" when libtorch does not tell.
func (d Device) Name() string {
	var name [256]C.char
	C.tune_device_name(C.int(d), &name[0], 256)
	return C.GoString(&name[0])
}

// BFloat16IsFast reports whether the device multiplies bfloat16 matrices in hardware. On a CPU without such
// instructions libtorch converts each product through float32, which costs more time than float32 itself.
func (d Device) BFloat16IsFast() bool { return C.tune_bfloat16_is_fast(C.int(d)) != 0 }

// Synchronize waits until the device has done all it was given.
func (d Device) Synchronize() {
	C.tune_synchronize(C.int(d))
	lastError()
}

// Memory is a device's or the process's use of memory in bytes; -1 where it cannot be told.
type Memory struct{ Now, Peak int64 }

// ProcessMemory returns the process's resident memory; on macOS its physical footprint, which counts
// Metal's buffers too.
func ProcessMemory() Memory {
	var now, peak C.int64_t
	C.tune_process_memory(&now, &peak)
	return Memory{int64(now), int64(peak)}
}

// CPU tensors lie in a pool of ours (pool.cpp) from the first one on.
func init() { C.tune_use_pool() }

// DeviceMemory returns the bytes that tensors hold on d and, on a GPU, what d's allocator has taken from the system; -1
// for what cannot be told. On the CPU the process holds more: see ProcessMemory.
func (d Device) DeviceMemory() (m Memory, reserved int64) {
	var now, peak, taken C.int64_t
	C.tune_memory(C.int(d), &now, &peak, &taken)
	lastError()
	return Memory{int64(now), int64(peak)}, int64(taken)
}

// MemoryLimit returns the bytes that the device's driver lets tensors have: on an Apple GPU the working set that it
// recommends, on CUDA what is free now; -1 where this libtorch cannot tell, and on the CPU.
func (d Device) MemoryLimit() int64 {
	n := int64(C.tune_device_memory_limit(C.int(d)))
	lastError()
	return n
}

// Version returns libtorch's version, such as "1.13.1".
func Version() string { return C.GoString(C.tune_libtorch_version()) }

// HasSDPA reports whether this libtorch has fused attention with a scale (2.1).
func HasSDPA() bool { return C.tune_has_sdpa() != 0 }

// MeanKeepsInput reports whether this libtorch's mean keeps its input for the backward pass though only its shape is
// needed, as those before 2.0 do.
func MeanKeepsInput() bool { return !HasRMSNorm() && strings.HasPrefix(Version(), "1.") }

// HasRMSNorm reports whether this libtorch has a fused RMSNorm (2.4).
func HasRMSNorm() bool { return C.tune_has_rms_norm() != 0 }

// Threads returns how many CPU threads an operator uses.
func Threads() int { return int(C.tune_threads()) }

// SetThreads sets how many CPU threads an operator uses, for the whole process.
func SetThreads(n int) { C.tune_set_threads(C.int(n)) }

// Seed seeds the generators of every device.
func Seed(seed int64) { C.tune_manual_seed(C.uint64_t(seed)) }

// GeneratorState returns the state of d's random generator, to be restored by SetGeneratorState.
func (s *Scope) GeneratorState(d Device) Tensor {
	if !s.ready("generator state") {
		return Tensor{}
	}
	return s.adopt("generator state", C.tune_generator_state(C.int(d)))
}

// SetGeneratorState makes d's random generator continue from state.
func (s *Scope) SetGeneratorState(d Device, state Tensor) {
	if s.ready("set generator state", state) {
		C.tune_set_generator_state(C.int(d), state.shim())
		if message := lastError(); message != "" && s.run.err == nil {
			s.run.err = &OpError{Op: "set generator state", Message: message}
		}
	}
}
