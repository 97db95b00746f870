// Package fault marks every write and every effect on the outside world, so that
// tests can stop the program there, or let any one of them fail, without effect or
// although it had its effect. Without a test that asks for it, nothing here does
// anything. A test holds the rest of the code to it: an effect that is not marked
// does not land.
package fault

import "sync/atomic"

// Point is an effect that is about to happen.
type Point struct {
	Op    string // what it does: "rename", "request", "run hook"
	Where string // the path, address or program that it does it to
}

// Handler carries an effect out in the program's place, or does not.
type Handler func(p Point, effect func() error) error

var handler atomic.Pointer[Handler]

// Handle has all effects pass a handler from now on; nil for none. For tests only.
func Handle(h Handler) {
	if h == nil {
		handler.Store(nil)
		return
	}
	handler.Store(&h)
}

// Do carries out an effect.
func Do(op, where string, effect func() error) error {
	if h := handler.Load(); h != nil {
		return (*h)(Point{op, where}, effect)
	}
	return effect()
}
