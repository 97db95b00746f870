package cli

import (
	"encoding/json"
	"errors"

	"github.com/urfave/cli/v2"

	"keepkey/apply"
	"keepkey/config"
	"keepkey/keystore"
)

func jsonFlag(dest *bool) cli.Flag {
	return &cli.BoolFlag{Name: "json", Destination: dest, Usage: "print JSON, as docs/json.md describes it"}
}

// look opens the store for reading, without the lock, and returns the selected
// certificates.
func look(g *globals, s *selection) (*apply.Runner, []config.Certificate, error) {
	cfg, certs, err := g.selected(s)
	if err != nil {
		return nil, nil, err
	}
	runner, err := g.reader(cfg)
	return runner, certs, err
}

// reader returns a runner that only looks.
func (g *globals) reader(cfg *config.Config) (*apply.Runner, error) {
	if g.env.daemon != nil {
		// To be allowed to hand work over is not to be allowed to look.
		return nil, errors.New("a daemon runs commands that change something, and no others")
	}
	log, err := g.logger(newProgress(g.env, 0))
	if err != nil {
		return nil, err
	}
	store, err := keystore.Open(cfg.State, cfg.Group)
	if err != nil {
		return nil, err
	}
	runner := &apply.Runner{Store: store, Now: g.env.Now, Log: log}
	runner.Configure(namesOf(cfg))
	return runner, nil
}

// show prints a list as JSON or, each item with print, for people. With problems
// among the items, which are printed with them, the exit status is 1.
func show[T any](env Env, items []T, asJSON bool, print func(Env, T), problems func(T) int) error {
	if asJSON {
		if err := printJSON(env, items); err != nil {
			return err
		}
	}
	var failed error
	for _, item := range items {
		if !asJSON {
			print(env, item)
		}
		if problems(item) > 0 {
			failed = reportedError{}
		}
	}
	return failed
}

// printJSON prints what docs/json.md describes.
func printJSON(env Env, v any) error {
	e := json.NewEncoder(jsonWriter{env.Stdout})
	e.SetIndent("", "  ")
	return e.Encode(v)
}
