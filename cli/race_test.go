//go:build race

package cli_test

import "flag"

func init() {
	raceDetector = true
	flag.Set("rapid.checks", "10")
}
