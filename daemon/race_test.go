//go:build race

package daemon

func init() { raceDetector = true }
