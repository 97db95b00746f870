package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"syscall"

	"github.com/urfave/cli/v2"

	"keepkey/apply"
	"keepkey/config"
	"keepkey/daemon"
	"keepkey/plan"
	"keepkey/status"
)

func daemonCommand(g *globals) *cli.Command {
	return &cli.Command{
		Name:  "daemon",
		Usage: "keep running, and do what is due at the moment when it is due",
		Description: "It takes the place of the timer. While it runs, other commands hand their work to it.\n" +
			"SIGHUP has it read the configuration again.",
		Action: func(c *cli.Context) error {
			cfg, err := g.load()
			if err != nil {
				return err
			}
			if g.log, err = g.logger(newProgress(g.env, 0)); err != nil {
				return err
			}
			return g.serve(c.Context, cfg)
		},
	}
}

// service is a daemon at work, for the commands that are handed to it.
type service struct {
	g      *globals
	runner *apply.Runner
	daemon *daemon.Daemon
	config string // its path
	read   atomic.Pointer[config.Config]
	told   map[string]string
}

func (g *globals) serve(ctx context.Context, cfg *config.Config) error {
	path, err := filepath.Abs(g.configPath())
	if err != nil {
		return err
	}
	runner, done, err := g.open(cfg)
	if err != nil {
		return err
	}
	defer done()
	runner.By = plan.AskedByDaemon
	socket, err := daemon.Listen(socketOf(cfg))
	if err != nil {
		return err
	}
	s := &service{g: g, runner: runner, config: path, told: make(map[string]string)}
	s.daemon = daemon.New()
	s.daemon.Now, s.daemon.Limit, s.daemon.Done = g.env.Now, concurrent, s.tell
	s.daemon.Load = func() (*config.Config, error) { return s.load(cfg) }
	s.daemon.Work = func(ctx context.Context, cert config.Certificate) apply.Report {
		return runner.Renew(ctx, cert, apply.Options{})
	}
	systemd := daemon.SystemdOf(g.env.Getenv)
	if systemd.Watchdog > 0 {
		s.daemon.Beat, s.daemon.BeatEvery = func() { systemd.Tell("WATCHDOG=1") }, systemd.Watchdog/3
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	served := make(chan struct{})
	go func() {
		defer close(served)
		daemon.Serve(ctx, socket, s.run)
	}()
	go s.reloadOn(ctx, systemd)
	systemd.Tell("READY=1")
	g.log.Info("at work", "certificates", len(cfg.Certificates))
	s.daemon.Run(ctx, cfg)
	systemd.Tell("STOPPING=1")
	cancel()
	<-served
	return nil
}

// socketOf returns where the daemon of a state directory listens.
func socketOf(cfg *config.Config) string { return filepath.Join(cfg.State, "daemon.sock") }

// load reads the configuration again. The lock is for one state directory, so that stays.
func (s *service) load(first *config.Config) (*config.Config, error) {
	cfg, err := s.g.load()
	if err != nil {
		return nil, err
	}
	if cfg.State != first.State || cfg.Group != first.Group {
		return nil, errors.New("another state directory or group takes a restart of the daemon")
	}
	s.runner.Configure(namesOf(cfg))
	s.read.Store(cfg)
	return cfg, nil
}

// reloadOn reads the configuration again at each SIGHUP.
func (s *service) reloadOn(ctx context.Context, systemd daemon.Systemd) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	for {
		select {
		case <-hangups:
			systemd.Tell(daemon.Reloading())
			if err := s.daemon.Reload(ctx); err != nil {
				s.g.log.Error("the configuration is not valid; the old one stays in force", "problem", err)
			} else {
				s.g.log.Info("read the configuration again")
			}
			systemd.Tell("READY=1")
		case <-ctx.Done():
			return
		}
	}
}

// tell logs what is wrong with a lineage, once.
func (s *service) tell(rep apply.Report) {
	o := status.OutcomeOf(rep.Name, rep.Done, rep.Problems, rep.Notes, rep.Input.State, rep.Next)
	now := ""
	for _, p := range o.Problems {
		now += string(p.Code) + " "
	}
	if now == s.told[rep.Name] {
		return
	}
	s.told[rep.Name] = now
	for _, p := range o.Problems {
		logProblem(s.g.log, rep.Name, p)
	}
	if len(o.Problems) == 0 {
		s.g.log.Info("no problem any more", "certificate", rep.Name)
	}
}

// run runs a command for somebody who handed it over.
func (s *service) run(ctx context.Context, r daemon.Request, stdout, stderr io.Writer) int {
	env := s.g.env
	env.Args, env.Stdout, env.Stderr, env.Terminal, env.Width, env.daemon = r.Args, stdout, stderr, r.Terminal, r.Width, s
	if r.Config != s.config {
		complain(env, "a daemon with the configuration "+s.config+" is at work in that state directory, and yours is "+r.Config)
		return exitLocked
	}
	if err := s.daemon.Reload(ctx); err != nil {
		complain(env, err.Error())
		return exitUsage
	}
	return Run(ctx, env)
}

// statusError is the exit status of a command that was handed over.
type statusError int

func (statusError) Error() string { return "the daemon has told why" }

// handOver has the daemon of the state directory run this command, if there is one.
func (g *globals) handOver(ctx context.Context, cfg *config.Config) (handed bool, err error) {
	path, err := filepath.Abs(g.configPath())
	if err != nil {
		return true, err
	}
	r := daemon.Request{Args: g.env.Args, Config: path, Terminal: g.env.Terminal, Width: g.env.Width}
	exit, err := daemon.Hand(ctx, socketOf(cfg), r, g.env.Stdout, g.env.Stderr)
	switch {
	case errors.Is(err, daemon.ErrNoDaemon):
		return false, nil
	case err != nil:
		return true, err
	case exit != exitOK:
		return true, statusError(exit)
	}
	return true, nil
}
