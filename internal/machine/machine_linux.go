package machine

import "os"

func readFacts() (Facts, error) { return linuxFacts(os.DirFS("/")) }

func allowedCores() int { return linuxAllowedCores(os.DirFS("/")) }
