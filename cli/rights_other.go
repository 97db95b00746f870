//go:build !linux

package cli

// Elsewhere root has no rights that could be kept apart: another user has none.
func keepRights()       {}
func dropRights() error { return nil }
