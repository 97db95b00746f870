package acme

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// step-ca and Caddy leave a challenge pending that failed, with the reason. That is the
// commonest mistake there is: a name that leads elsewhere, or a port that is closed.
func TestAProblemThatStaysTheSameEndsThePoll(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		tell func(after time.Duration) string
		want string        // in the error
		min  time.Duration // until it ends
		max  time.Duration
		told int // how often it is logged
	}{
		"from the beginning": {func(time.Duration) string { return "no route to host" }, "no route to host; it stayed so for 1m0s", time.Minute, 70 * time.Second, 1},
		"after a while": {func(after time.Duration) string {
			if after < 3*time.Minute {
				return ""
			}
			return "no route to host"
		}, "no route to host; it stayed so", 4 * time.Minute, 250 * time.Second, 1},
		"another every half minute": {func(after time.Duration) string { return fmt.Sprintf("attempt %d", after/(30*time.Second)) },
			"the CA did not finish in time; the CA's last word on it: attempt ", 10 * time.Minute, 10 * time.Minute, 20},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				c := &Client{guard: &guard{}, cfg: Config{Now: time.Now, Logger: slog.New(slog.NewTextHandler(&log, nil))}}
				ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Minute, errors.New("the CA did not finish in time"))
				defer cancel()
				began := time.Now()
				err := c.poll(ctx, "https://ca.example/authz/1", func() (bool, string, error) { return false, tt.tell(time.Since(began)), nil })
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%v, want %q", err, tt.want)
				}
				if took := time.Since(began); took < tt.min || took > tt.max {
					t.Errorf("it took %s", took)
				}
				if n := strings.Count(log.String(), "the CA reports a problem"); n != tt.told {
					t.Errorf("told %d times, want %d:\n%s", n, tt.told, &log)
				}
			})
		})
	}
}

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
