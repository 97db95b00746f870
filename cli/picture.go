package cli

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/urfave/cli/v2"

	"keepkey/apply"
	"keepkey/config"
	"keepkey/hooks"
	"keepkey/page"
	"keepkey/plan"
	"keepkey/status"
)

// picture is where `keepkey status` writes what the daemon's page shows.
type picture struct{ html, svg once }

func (p *picture) flags() []cli.Flag {
	return []cli.Flag{
		&cli.GenericFlag{Name: "html", Value: &p.html, Usage: "write the status page into `FILE`, or to standard output if that is -"},
		&cli.GenericFlag{Name: "svg", Value: &p.svg, Usage: "write the timeline of one certificate into `FILE`, or to standard output if that is -"},
	}
}

func (p *picture) given() bool { return p.html != "" || p.svg != "" }

// runPicture shows the same as runStatus does, and ends with the same status.
func runPicture(ctx context.Context, g *globals, s *selection, p picture, asJSON bool) error {
	if asJSON || (p.html != "" && p.svg != "") {
		return usagef("--json, --html and --svg can't be combined: each is another way to show the same")
	}
	cfg, certs, err := g.selected(s)
	if err != nil {
		return err
	}
	file, err := p.file(cfg)
	if err != nil {
		return err
	}
	if p.svg != "" && len(certs) != 1 {
		return usagef("--svg draws the timeline of one certificate, and %d are meant: choose one with --name", len(certs))
	}
	runner, err := g.reader(cfg)
	if err != nil {
		return err
	}
	var all []page.Certificate
	for _, cert := range certs {
		all = append(all, pageOf(ctx, runner, cert))
	}
	var b bytes.Buffer
	if p.svg != "" {
		err = page.SVG(&b, all[0].Timeline)
	} else {
		if s.all() {
			left, err := leftOver(ctx, runner)
			if err != nil {
				return err
			}
			all = append(all, left...)
		}
		err = page.HTML(&b, viewOf(g.env, all))
	}
	if err == nil {
		err = put(g.env, file, b.Bytes())
	}
	if err == nil && slices.ContainsFunc(all, func(c page.Certificate) bool { return len(c.Problems) > 0 }) {
		return reportedError{}
	}
	return err
}

// leftOver returns what a page shows of lineages that the configuration does not name.
func leftOver(ctx context.Context, runner *apply.Runner) ([]page.Certificate, error) {
	left, err := runner.LeftOver(ctx)
	if err != nil {
		return nil, err
	}
	var all []page.Certificate
	for _, l := range left {
		problem := plan.Plan{Problems: []plan.Finding{l.Problem}}
		all = append(all, page.Certificate{Lineage: status.LeftOver(l.Input, l.Problem), Timeline: page.TimelineOf(l.Input, problem, nil)})
	}
	return all, nil
}

// file returns where the picture goes: the path of a file, or - for standard output.
func (p *picture) file(cfg *config.Config) (string, error) {
	file := cmp.Or(p.html.String(), p.svg.String())
	if file == "-" {
		return file, nil
	}
	file, err := filepath.Abs(file)
	if err != nil {
		return "", err
	}
	if cfg.Owns(file) {
		return "", usagef("%s is in the state directory %s, where only keepkey's own files are: choose another place", file, cfg.State)
	}
	return file, nil
}

// viewOf is a page of certificates, those first with which the most is wrong.
func viewOf(env Env, all []page.Certificate) page.View {
	v := page.View{Now: env.Now(), Version: version()}
	v.Hostname, _ = os.Hostname() // for people
	rank := map[status.Severity]int{status.Critical: -2, status.Warning: -1}
	slices.SortStableFunc(all, func(a, b page.Certificate) int {
		return rank[status.Worst(a.Problems)] - rank[status.Worst(b.Problems)]
	})
	shown := min(len(all), page.MaxInFull)
	v.Certificates = all[:shown]
	for _, c := range all[shown:] {
		v.Others = append(v.Others, c.Brief())
	}
	return v
}

// put replaces a file in one step, so that whoever serves it never serves half of it.
func put(env Env, file string, data []byte) error {
	if file == "-" {
		_, err := env.Stdout.Write(data)
		return err
	}
	if err := hooks.PutFile(file, data); err != nil {
		return fmt.Errorf("%s was not written: %w", file, err)
	}
	return nil
}
