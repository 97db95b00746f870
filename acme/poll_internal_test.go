package acme

import (
	"errors"
	"testing"
)

func TestErrorsOfManyNamesAreOneLine(t *testing.T) {
	t.Parallel()
	refused := &Problem{URL: "https://ca.example/authz/7", Status: 403}
	for n, want := range map[int]string{
		0: "",
		1: "number 0",
		2: "number 0; number 1",
		3: "number 0; number 1; number 2",
		9: "number 0; number 1; number 2; and 6 more like these",
	} {
		err := each(n+1, func(i int) error {
			if i == n {
				return nil
			}
			return &numbered{i, refused}
		})
		if got := text(err); got != want {
			t.Errorf("%d errors: got %q, want %q", n, got, want)
		}
		var p *Problem
		if errors.As(err, &p) != (n > 0) {
			t.Errorf("%d errors: the problem within is lost, or invented", n)
		}
	}
}

type numbered struct {
	n   int
	err error
}

func (e *numbered) Error() string { return "number " + string(rune('0'+e.n)) }
func (e *numbered) Unwrap() error { return e.err }

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
