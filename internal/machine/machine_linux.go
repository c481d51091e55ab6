package machine

import "os"

func readFacts() (Facts, error) { return linuxFacts(os.DirFS("/")) }

func allowedCores() int { return linuxAllowedCores(os.DirFS("/")) }

func readMemory() (limit, available uint64) { return linuxMemory(os.DirFS("/")) }
