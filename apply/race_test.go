//go:build race

package apply_test

func init() { raceDetector = true }
