// Package dns opens the DNS providers that answer DNS-01 challenges (RFC 8555
// section 8.4): it knows their names, which of them this build has, and where they
// get their settings from.
//
// The providers are lego's. Which of them a program links is its own decision: the
// zero [Providers] has those of the default build, which are the ones that people
// use most and whose dependencies are small; contrib/alldns is a program with all of
// them, which passes lego's own list to [All].
package dns

//go:generate go run ./internal/names

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"keepkey/internal/nearest"
)

// Provider puts TXT records into a zone and removes them. lego's providers may also
// have Timeout, for how long and how often to look for the record, and Sequential,
// when they can only do one record at a time.
type Provider interface {
	Present(domain, token, keyAuth string) error
	CleanUp(domain, token, keyAuth string) error
}

// Providers opens DNS providers by name. The zero value has those of the default
// build.
type Providers struct {
	open func(name string) (Provider, error) // nil for the default build's
}

// All returns the providers of a build that has every one of lego's; open is how
// lego opens one by its name.
func All[P Provider](open func(name string) (P, error)) Providers {
	return Providers{open: func(name string) (Provider, error) { return open(name) }}
}

// Check says whether Open knows a name. The error says what to do about it.
func (p Providers) Check(name string) error {
	if !slices.Contains(names, name) {
		if meant := nearest.Word(name, names); meant != "" {
			return fmt.Errorf("there is no DNS provider %.100q; did you mean %q? docs/dns-providers.md lists them", name, meant)
		}
		return fmt.Errorf("there is no DNS provider %.100q; docs/dns-providers.md lists them", name)
	}
	if p.open == nil && curated[name] == nil {
		return fmt.Errorf("the DNS provider %q is not in the default build, for its size; build keepkey in contrib/alldns (docs/dns-providers.md says how)", name)
	}
	return nil
}

// Open makes a provider with the settings in env, which lego documents for each,
// over those of the process's environment. No error shows a setting's value.
func (p Providers) Open(name string, env map[string]string) (Provider, error) {
	if err := p.Check(name); err != nil {
		return nil, err
	}
	open := p.open
	if open == nil {
		open = func(name string) (Provider, error) { return curated[name]() }
	}
	var provider Provider
	err := withEnvironment(env, func() (err error) {
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("it panicked: %.200q", fmt.Sprint(r))
			}
		}()
		provider, err = open(name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("DNS provider %s: %w", name, inWords(name, err))
	}
	if s, ok := provider.(sequential); ok && name == "exec" {
		return execProvider{s, env}, nil
	}
	return provider, nil
}

// inWords says in fewer words what lego says twice: its provider's name, and for each way
// to give credentials that they are missing.
func inWords(name string, err error) error {
	const missing = "some credentials information are missing: "
	text := strings.TrimPrefix(err.Error(), name+": ")
	if first, rest, ok := strings.Cut(text, missing); ok {
		return errors.New(first + "these variables are missing: " + strings.ReplaceAll(rest, missing, ""))
	}
	return err
}

// sequential is what lego's exec provider has besides the interface.
type sequential interface {
	Provider
	Timeout() (timeout, interval time.Duration)
	Sequential() time.Duration
}

// execProvider sets the variables for the scripts too, which are child processes and
// inherit the environment as it is when they start.
type execProvider struct {
	sequential
	env map[string]string
}

func (p execProvider) Present(domain, token, keyAuth string) error {
	return withEnvironment(p.env, func() error {
		if err := p.sequential.Present(domain, token, keyAuth); err != nil {
			return fmt.Errorf("%w; what it printed is logged with --log-level debug", err)
		}
		return nil
	})
}

func (p execProvider) CleanUp(domain, token, keyAuth string) error {
	return withEnvironment(p.env, func() error { return p.sequential.CleanUp(domain, token, keyAuth) })
}
