package dns

import (
	"fmt"
	"os"
	"sync"
)

// environment guards the process's environment. lego's providers read their settings
// from there and from nowhere else, and two certificates may have different settings
// for the same provider.
var environment sync.Mutex

// withEnvironment runs f with the variables set, and restores what was there.
func withEnvironment(env map[string]string, f func() error) error {
	environment.Lock()
	defer environment.Unlock()
	for name, value := range env {
		old, was := os.LookupEnv(name)
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("variable %s: its value cannot be set", name)
		}
		defer func() {
			if was {
				os.Setenv(name, old)
			} else {
				os.Unsetenv(name)
			}
		}()
	}
	return f()
}
