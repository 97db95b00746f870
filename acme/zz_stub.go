package acme

import (
	"context"
	"errors"
	"net"
	"strings"
)

// Unanswered stands in for the real thing until that is there.
func Unanswered(err error) bool {
	var p *Problem
	if errors.As(err, &p) {
		return p.Status >= 500 && p.RetryAfter == 0
	}
	var op *net.OpError
	var timeout net.Error // such as the transport's own, of reading the headers
	return err != nil && (errors.As(err, &op) || (errors.As(err, &timeout) && timeout.Timeout()) || errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "did not answer within"))
}

// Identifiers stands in for the real thing until that is there.
func (p *Problem) Identifiers(domains []string) []string {
	var named []string
	for _, d := range domains {
		if strings.Contains(p.Detail, "; "+d+": ") { // of a subproblem
			named = append(named, d)
		}
	}
	return named
}
