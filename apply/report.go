package apply

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"keepkey/config"
	"keepkey/plan"
	"keepkey/report"
)

// Received is a report of a client as it came in.
type Received struct {
	report.Report
	Source string    // who sent it: whatever tells two of them apart
	At     time.Time // when the pin validation failed, as far as it is known
}

// loadReports reads what clients reported, if any did.
func (l *lineage) loadReports() {
	l.reports, l.disk.ReportsProblem = plan.Reports{}, nil
	data, err := l.store.Reports.Load()
	if err == nil && data != nil {
		l.reports, err = plan.ParseReports(data)
	}
	if err != nil {
		l.disk.ReportsProblem = fmt.Errorf("reports.json: %w", err)
	}
}

// Hear puts reports of clients on record that are about hosts of all these certificates. It
// waits for no run that has one of their lineages. It returns for which of them there is
// something new to tell a person.
func (r *Runner) Hear(ctx context.Context, certs []config.Certificate, all []Received) (news []string, err error) {
	r.hearing.Lock()
	defer r.hearing.Unlock()
	var lineages []*lineage
	for _, cert := range certs {
		l, unheard := r.newRun(ctx, cert, Options{}).listen()
		if unheard != nil {
			err = unheard
			continue
		}
		lineages = append(lineages, l)
	}
	if len(lineages) == 0 {
		return nil, err
	}
	before := make(map[*lineage]plan.Input)
	for _, rep := range all {
		l := addressee(lineages, &rep)
		in := l.knows()
		if _, heard := before[l]; !heard {
			before[l] = in
		}
		if l.reports.Salt == "" {
			l.reports = plan.NewReports(rand.Text())
		}
		l.reports = l.reports.Add(in, rep.Report, rep.Source, rep.At)
	}
	for _, l := range lineages {
		was, heard := before[l]
		if !heard {
			continue
		}
		if err := l.saveReports(); err != nil {
			return news, err
		}
		if !slices.Equal(keysOf(was), keysOf(l.knows())) {
			news = append(news, l.cert.Name)
		}
	}
	return news, nil
}

// listen reads what it takes to make sense of a report. Nothing is put on record as long as
// that is not whole: what closes the gate would pass for what does not, and make room for it.
func (r *run) listen() (*lineage, error) {
	store, err := r.Store.Lineage(r.cert.Name)
	if err != nil {
		return nil, err
	}
	l := &lineage{run: r, store: store}
	if l.records, err = store.Records.Load(); err != nil {
		return nil, err
	}
	refuse := func(f plan.Finding) (*lineage, error) {
		return nil, &plan.Refusal{Lineage: r.cert.Name, Finding: f}
	}
	if l.records.LedgerProblem != nil {
		return refuse(plan.Finding{Code: plan.LedgerDamaged, Err: l.records.LedgerProblem})
	}
	if l.records.State == nil {
		return refuse(plan.Finding{Code: plan.NothingYet})
	}
	if l.state, err = plan.ParseState(r.cert.Name, l.records.State); err != nil {
		return nil, fmt.Errorf("state.json is %w", err)
	}
	if l.loadReports(); l.disk.ReportsProblem != nil {
		return refuse(plan.Finding{Code: plan.ReportsDamaged, Err: l.disk.ReportsProblem})
	}
	return l, nil
}

// knows is all that the meaning of a report depends on. No CA is asked for it, and no run that
// asks one is waited for.
func (l *lineage) knows() plan.Input {
	return plan.Input{Goal: l.goal, State: l.state, Ledger: l.records.Ledger, Reports: l.reports, Now: l.Now()}
}

// addressee returns the lineage that a report is about. Several can have one host's name: then
// it is the one that published the pin set, or else whose key was served. A key of another one
// of them is not a stranger's, so it is left out.
func addressee(lineages []*lineage, rep *Received) *lineage {
	published := func(l *lineage) bool { return l.knows().Published(rep.Known) }
	serves := func(l *lineage) bool { return l.knows().Has(rep.Served) }
	i := slices.IndexFunc(lineages, published)
	if i < 0 {
		i = max(slices.IndexFunc(lineages, serves), 0)
	}
	if !serves(lineages[i]) && slices.ContainsFunc(lineages, serves) {
		rep.Served = report.Report{}.Served
	}
	return lineages[i]
}

// keysOf tells apart what there is to tell.
func keysOf(in plan.Input) []string {
	var keys []string
	problems, notes := in.ReportFindings()
	for _, f := range slices.Concat(problems, notes) {
		keys = append(keys, f.Key())
	}
	return keys
}

func (l *lineage) saveReports() error {
	data, err := l.reports.Marshal()
	if err != nil {
		return err
	}
	return l.store.Reports.Save(data)
}

// DismissReports puts on record that a person has decided that reports of clients change
// nothing: those in the groups with these IDs, or all of them where none is named. It returns
// how many groups there were.
func (r *Runner) DismissReports(ctx context.Context, cert config.Certificate, ids []string) (n int, err error) {
	defer r.hold(cert.Name)()
	r.hearing.Lock()
	defer r.hearing.Unlock()
	l, err := r.newRun(ctx, cert, Options{}).listen()
	if err != nil {
		return 0, err
	}
	in, now := l.knows(), l.Now()
	var events []plan.Event
	for _, g := range in.Reported() {
		if len(ids) == 0 || slices.Contains(ids, g.ID) {
			events = append(events, plan.Event{At: now, Action: plan.DismissReport, Channel: g.Set.Channel, Version: g.Set.Version, Target: g.ID})
		}
	}
	if len(ids) == 0 {
		for _, e := range events {
			ids = append(ids, e.Target)
		}
	}
	for _, id := range ids {
		if l.reports, err = l.reports.Dismiss(cert.Name, id, l.by, now); err != nil {
			return 0, err
		}
	}
	if len(events) == 0 {
		return 0, nil
	}
	if err := l.saveReports(); err != nil {
		return 0, err
	}
	for _, e := range events {
		l.journal(e)
	}
	return len(events), nil
}

// RestartReports begins anew where the reports are damaged, and returns where the damaged file
// is kept. What closed the gate is forgotten with it, so that a person has to ask for it.
func (r *Runner) RestartReports(ctx context.Context, cert config.Certificate) (kept string, err error) {
	defer r.hold(cert.Name)()
	r.hearing.Lock()
	defer r.hearing.Unlock()
	l, err := r.newRun(ctx, cert, Options{}).look(ctx)
	switch {
	case err != nil:
		return "", err
	case l.state.IsZero():
		return "", l.nothingYet()
	case l.disk.ReportsProblem == nil:
		return "", &plan.Refusal{Lineage: cert.Name, Finding: plan.Finding{Code: plan.ReportsWhole}}
	}
	if kept, err = l.store.Reports.SetAside(l.Now()); err != nil {
		return "", err
	}
	l.journal(plan.Event{At: l.Now(), Action: plan.RestartReports})
	return kept, nil
}
