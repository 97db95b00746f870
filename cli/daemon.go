package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/urfave/cli/v2"

	"keepkey/apply"
	"keepkey/config"
	"keepkey/daemon"
	"keepkey/internal/trusted"
	"keepkey/keystore"
	"keepkey/page"
	"keepkey/plan"
	"keepkey/report"
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
	g       *globals
	runner  *apply.Runner
	daemon  *daemon.Daemon
	config  string // its path
	read    atomic.Pointer[config.Config]
	told    map[string]string
	systemd daemon.Systemd
	sum     string // what it was told last of how things are

	overview *daemon.Overview
	web      net.Listener // where it answers over HTTP; nil for nowhere
	reports  *daemon.Reports
	alarm    *alarm

	reading sync.Mutex // one at a time, since it takes memory
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
	socket, err := listen(runner.Store, cfg)
	if err != nil {
		return err
	}
	defer socket.Close()
	s := &service{g: g, runner: runner, config: path, told: make(map[string]string), overview: daemon.NewOverview(cfg, g.env.Now())}
	if cfg.Listen.Network != "" {
		if s.web, err = daemon.ListenHTTP(cfg.Listen, runner.Store.Group()); err != nil {
			return err
		}
	}
	s.read.Store(cfg)
	s.daemon = daemon.New()
	s.alarm = newAlarm(s)
	s.daemon.Now, s.daemon.Limit, s.daemon.Done = g.env.Now, concurrent, s.done
	s.daemon.Load = func() (*config.Config, error) { return s.load(cfg) }
	s.daemon.Work = func(ctx context.Context, cert config.Certificate) apply.Report {
		return runner.Renew(ctx, cert, apply.Options{})
	}
	if g.env.OnlyHanded {
		s.daemon.Work = func(_ context.Context, cert config.Certificate) apply.Report {
			return apply.Report{Name: cert.Name, Wake: g.env.Now().AddDate(1000, 0, 0)}
		}
	}
	s.reports = daemon.NewReports()
	s.reports.Now, s.reports.About, s.reports.Hear = g.env.Now, s.about, s.hear
	s.systemd = daemon.SystemdOf(g.env.Getenv)
	s.daemon.Beat, s.daemon.BeatEvery = s.overview.Beat, s.systemd.Watchdog/3
	if s.systemd.Watchdog > 0 {
		s.daemon.Beat = func() { s.overview.Beat(); s.systemd.Tell("WATCHDOG=1") }
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var serving sync.WaitGroup
	serving.Go(func() { daemon.Serve(ctx, socket, s.run) })
	if s.web != nil {
		web := s.webOf(cfg)
		serving.Go(func() { web.Serve(ctx, s.web) })
	}
	serving.Go(func() { s.reports.Run(ctx) })
	serving.Go(func() { s.alarm.teller.Run(ctx) })
	go s.reloadOn(ctx)
	s.systemd.Tell("READY=1")
	g.log.Info("at work", "certificates", len(cfg.Certificates))
	debug.FreeOSMemory() // see reloadOn
	s.daemon.Run(ctx, cfg)
	s.systemd.Tell("STOPPING=1")
	cancel()
	serving.Wait()
	return nil
}

// webOf is what answers over HTTP.
func (s *service) webOf(cfg *config.Config) *daemon.Web {
	w := &daemon.Web{
		Overview: s.overview, Metrics: daemon.NewMetrics(version(), cfg.Listen.Public), Listen: cfg.Listen, Served: s.runner.Served,
		Now: s.g.env.Now, Since: s.g.env.Now(), Hostname: s.runner.Hostname, Version: version(), Log: s.g.log, Reports: s.reports,
	}
	w.Show = func(ctx context.Context, cert config.Certificate) page.Certificate {
		return pageOf(ctx, s.runner, cert)
	}
	w.LeftOver = func(ctx context.Context) ([]page.Certificate, error) { return leftOver(ctx, s.runner) }
	s.runner.Observe, s.reports.Count = w.Metrics.Observe, w.Metrics.CountReport
	return w
}

// about returns the certificates that a report may be about, where reports are taken.
func (s *service) about(rep report.Report) []config.Certificate {
	cfg := s.read.Load()
	if !cfg.Reports {
		return nil
	}
	return about(cfg, rep)
}

// hear puts reports of clients on record, and has those lineages looked at of which there is
// something new to tell.
func (s *service) hear(ctx context.Context, certs []config.Certificate, all []apply.Received) {
	news, err := s.runner.Hear(ctx, certs, all)
	if err != nil {
		s.g.log.Warn("reports of clients were not put on record", "certificate", certs[0].Name, "reports", len(all), "problem", err)
	}
	if len(news) == 0 {
		return
	}
	if err := s.daemon.Wake(ctx, news...); err != nil && !errors.Is(err, daemon.ErrEnded) {
		s.g.log.Warn("what clients reported is told when something else is due", "problem", err)
	}
}

// socketOf returns where the daemon of a state directory listens.
func socketOf(state string) string { return filepath.Join(state, "daemon.sock") }

// listen listens for those who may hand work over.
func listen(store *keystore.Store, cfg *config.Config) (net.Listener, error) {
	group := daemon.NoGroup
	if cfg.Operators != "" {
		var err error
		if group, err = keystore.LookupGroup(cfg.Operators); err != nil {
			return nil, err
		}
		if err := store.LetPass(); err != nil {
			return nil, err
		}
	}
	l, err := daemon.Listen(socketOf(cfg.State), group)
	if errors.Is(err, fs.ErrPermission) && group != daemon.NoGroup {
		return nil, fmt.Errorf("the daemon's socket cannot be given to the group %s of `operators`: keepkey's user is not in it; run usermod -aG %[1]s %s, and start keepkey anew: %w",
			cfg.Operators, trusted.UserName(os.Geteuid()), err)
	}
	return l, err
}

// load reads the configuration again. The lock is for one state directory, so that stays, and
// so does where the daemon listens.
func (s *service) load(first *config.Config) (*config.Config, error) {
	s.reading.Lock()
	defer s.reading.Unlock()
	defer s.g.spareMemory()()
	cfg, err := config.Load(s.config, s.g.env.DNS.Check)
	if err == nil && (cfg.State != first.State || cfg.Group != first.Group || cfg.Operators != first.Operators || cfg.Listen != first.Listen) {
		err = errors.New("another state directory, group or listen, or other operators, take a restart of the daemon")
	}
	s.alarm.loaded(err)
	if err != nil {
		s.overview.Refuse(err)
		return nil, err
	}
	s.overview.Configure(cfg, s.g.env.Now())
	s.runner.Configure(namesOf(cfg))
	s.read.Store(cfg)
	return cfg, nil
}

// reloadOn reads the configuration again at each SIGHUP.
func (s *service) reloadOn(ctx context.Context) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	for {
		select {
		case <-hangups:
			s.systemd.Tell(daemon.Reloading())
			err := s.daemon.Reload(ctx)
			debug.FreeOSMemory() // reading it takes many times what it holds
			if err != nil {
				s.g.log.Error("the configuration is not valid; the old one stays in force", "problem", err)
			} else {
				s.g.log.Info("read the configuration again")
			}
			s.systemd.Tell("READY=1", "STATUS="+s.overview.Sum())
		case <-ctx.Done():
			return
		}
	}
}

// done takes what became of a lineage.
func (s *service) done(rep apply.Report) {
	s.overview.Worked(rep, s.g.env.Now())
	s.alarm.found(rep)
	s.tell(rep)
	s.sumUp()
}

// sumUp has systemctl status show how things are.
func (s *service) sumUp() {
	if sum := s.overview.Sum(); sum != s.sum {
		s.sum = sum
		s.systemd.Tell("STATUS=" + sum)
	}
}

// tell logs what is wrong with a lineage, once.
func (s *service) tell(rep apply.Report) {
	s.g.log.Debug("did what was due", "certificate", rep.Name, "again", rep.Wake)
	o := status.OutcomeOf(rep.Name, rep.Done, rep.Problems, rep.Notes, rep.Input.State, rep.Next)
	now := ""
	for _, p := range o.Problems {
		now += p.ID + " " + string(p.Severity) + "\n"
	}
	if now == s.told[rep.Name] {
		return
	}
	if s.told[rep.Name] = now; now == "" {
		delete(s.told, rep.Name) // of thousands, nothing is to be told
	}
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
	env.Args, env.Stdin, env.Stdout, env.Stderr, env.Terminal, env.Width = r.Args, bytes.NewReader(r.Input), stdout, stderr, r.Terminal, r.Width
	env.daemon, env.asker = s, trusted.UserName(r.UID)
	env.Getenv = func(name string) string { return map[string]string{"NO_COLOR": r.NoColor}[name] }
	if r.Config != s.config {
		complain(env, "a daemon with the configuration "+s.config+" is at work in that state directory, and yours is "+r.Config)
		return exitLocked
	}
	switch err := s.daemon.Reload(ctx); {
	case errors.Is(err, daemon.ErrEnded):
		complain(env, "the daemon is about to end; nothing was done, try again when it has")
		return exitLocked
	case ctx.Err() != nil:
		complain(env, "interrupted before it began; nothing was done")
		return exitFailed
	case err != nil:
		complain(env, err.Error())
		return exitUsage
	}
	log := s.g.log.With("user", env.asker, "command", strings.Join(r.Args[1:], " "))
	log.Info("a user hands work over")
	exit := Run(ctx, env)
	log.Info("that work has ended", "status", exit)
	return exit
}

// statusError is the exit status of a command that was handed over.
type statusError int

func (statusError) Error() string { return "the daemon has told how it ended" }

// handOver has the daemon of the state directory run this command, if there is one. Then the
// error is how it ended.
func (g *globals) handOver(ctx context.Context) error {
	if g.env.daemon != nil {
		return nil // it is the daemon
	}
	doc, err := g.document()
	if err != nil || doc.State == "" {
		return err // a mistake that is told when all of it is read
	}
	r := daemon.Request{Args: g.env.Args, Config: doc.File, Terminal: g.env.Terminal, Width: g.env.Width, Input: g.input, NoColor: g.env.Getenv("NO_COLOR")}
	exit, err := daemon.Hand(ctx, socketOf(doc.State), r, g.env.Stdout, g.env.Stderr)
	switch {
	case errors.Is(err, daemon.ErrNoDaemon):
		return nil
	case errors.Is(err, daemon.ErrNotAllowed):
		return notAllowed(doc)
	case err != nil:
		return err
	}
	return statusError(exit)
}

// notAllowed says what somebody can do who may not connect to a daemon.
func notAllowed(doc *config.Document) error {
	me := trusted.UserName(os.Geteuid())
	join := "name a group that may as `operators` in " + doc.File
	if doc.Operators != "" {
		join = fmt.Sprintf("put %s into the group %s of `operators` (usermod -aG %[2]s %[1]s) and log in again", me, doc.Operators)
	}
	return fmt.Errorf("%s may not hand work to the daemon of %s; nothing was done\ndo: run it as root: sudo keepkey COMMAND\ndo: or %s", me, doc.State, join)
}
