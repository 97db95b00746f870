package acme

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"

	"github.com/go-acme/lego/v4/acme"
)

func testClient() *Client {
	return &Client{cfg: Config{Logger: slog.New(slog.DiscardHandler)}, guard: &guard{}}
}

func TestPanicIsAnError(t *testing.T) {
	t.Parallel()
	n, err := call(t.Context(), testClient(), func() (int, error) { panic("nil map\x1b[2J") })
	if n != 0 || err == nil || err.Error() != `the ACME library panicked: "nil map\x1b[2J"` {
		t.Errorf("got %d, %v", n, err)
	}
}

func TestInterruptedCallDoesNotWait(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	stuck := make(chan struct{})
	defer close(stuck)
	why := errors.New("it was interrupted")
	_, err := call(ctx, testClient(), func() (int, error) {
		cancel(why)
		<-stuck
		return 1, nil
	})
	if err != why {
		t.Errorf("got %v", err)
	}
}

func TestCallTriesAnewWhenLegoGivesUpOnNonces(t *testing.T) {
	t.Parallel()
	bad := &acme.NonceError{ProblemDetails: &acme.ProblemDetails{HTTPStatus: 400, Type: errBadNonce, Detail: "stale", URL: "https://ca.example/order"}}
	for fails := range nonceRounds + 1 {
		tries := 0
		n, err := call(t.Context(), testClient(), func() (int, error) {
			if tries++; tries <= fails {
				return 0, fmt.Errorf("gave up: %w", bad)
			}
			return 7, nil
		})
		if fails < nonceRounds && (n != 7 || err != nil || tries != fails+1) {
			t.Errorf("after %d failures: %d, %v in %d tries", fails, n, err, tries)
		}
		var p *Problem
		if fails == nonceRounds && (!errors.As(err, &p) || p.Type != errBadNonce || p.Status != 400 || p.URL != "https://ca.example/order" || tries != nonceRounds) {
			t.Errorf("after %d failures: %v in %d tries", fails, err, tries)
		}
	}
}

func TestTidy(t *testing.T) {
	t.Parallel()
	refused, silent := &Problem{Status: 403}, &unanswered{errors.New("no route")}
	long := strings.Repeat("woe ", 1000)
	for name, tt := range map[string]struct {
		err  error
		want string
		is   error
	}{
		"none":                {nil, "", nil},
		"short":               {errors.New("no directory"), "no directory", nil},
		"of net/http":         {&url.Error{Op: "Get", URL: "https://ca.example", Err: context.Canceled}, "context canceled", context.Canceled},
		"a refusal within":    {fmt.Errorf("%s: %w", long, &url.Error{Op: "Post", Err: refused}), refused.Error(), refused},
		"a silence within":    {fmt.Errorf("%s: %w", long, &url.Error{Op: "Post", Err: silent}), "no route", silent},
		"with a body":         {errors.New(long), fmt.Sprintf("%.300q", long), nil},
		"with an escape code": {errors.New("a\x1b[2Jb"), `"a\x1b[2Jb"`, nil},
		"of two lines":        {errors.New("a\nb"), `"a\nb"`, nil},
	} {
		got := testClient().tidy(tt.err)
		if (got == nil) != (tt.err == nil) || (got != nil && got.Error() != tt.want) || (tt.is != nil && !errors.Is(got, tt.is)) {
			t.Errorf("%s: got %v, want %q", name, got, tt.want)
		}
	}
}
