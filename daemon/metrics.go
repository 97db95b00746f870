package daemon

import (
	"bufio"
	"cmp"
	"io"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"

	"keepkey/apply"
	"keepkey/plan"
	"keepkey/status"
)

// Metrics counts what is done, for Prometheus. Make one with [NewMetrics].
type Metrics struct {
	registry *prometheus.Registry
	actions  *prometheus.CounterVec
	hooks    *prometheus.CounterVec
	reports  *prometheus.CounterVec
	turn     sync.Mutex // of who writes metrics down; see inTurns
}

// How an action or a hook came out.
const (
	resultDone   = "done"
	resultFailed = "failed"
)

// NewMetrics returns one for a version of keepkey. What is for the people of this machine
// alone, of the process and of Go, is left out of public ones.
func NewMetrics(version string, public bool) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		actions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keepkey_actions_total", Help: "Actions that were carried out, or failed, since the daemon began.",
		}, []string{"action", "result"}),
		hooks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keepkey_hook_runs_total", Help: "Hooks that were called, by their event, since the daemon began.",
		}, []string{"event", "result"}),
		reports: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keepkey_pin_failure_reports_total", Help: "Reports of clients that refused a key, by what became of them, since the daemon began.",
		}, []string{"result"}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "keepkey_build_info", Help: "The version of keepkey, and of Go; always 1.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(m.actions, m.hooks, m.reports, build)
	if !public {
		m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	}
	// From the start, so that the first failure is an increase.
	for _, result := range []string{resultDone, resultFailed} {
		for _, kind := range []plan.Kind{plan.Obtain, plan.SwitchKey, plan.Publish, plan.ReadBack, plan.Deploy, plan.Check, plan.Look} {
			m.actions.WithLabelValues(string(kind), result)
		}
		for _, event := range []plan.Kind{plan.Publish, plan.Deploy, apply.Notified} {
			m.hooks.WithLabelValues(string(event), result)
		}
	}
	for _, result := range []string{ReportTaken, ReportInvalid, ReportForeign, ReportLimited, ReportLost} {
		m.reports.WithLabelValues(result)
	}
	return m
}

// CountReport counts a report of a client: see [Reports].
func (m *Metrics) CountReport(result string) { m.reports.WithLabelValues(result).Inc() }

// Observe counts: see [apply.Runner].
func (m *Metrics) Observe(o apply.Observed) {
	result := resultDone
	if o.Err != nil {
		result = resultFailed
	}
	counter := m.actions
	if o.Hook {
		counter = m.hooks
	}
	counter.WithLabelValues(string(o.Kind), result).Inc()
}

// family is a metric of which every certificate can have a value, or one for each channel.
type family struct {
	name, help string
	of         func(k *known, b status.Brief, add func(channel string, value float64))
}

var families = []family{
	{"keepkey_certificate_not_after_timestamp_seconds", "When the newest certificate expires.", func(_ *known, b status.Brief, add func(string, float64)) {
		addTime("", b.NotAfter, add)
	}},
	{"keepkey_gate_open", "Whether the first backup key may be served now.", func(_ *known, b status.Brief, add func(string, float64)) {
		if b.HasGate {
			add("", truth(b.GateOpen))
		}
	}},
	{"keepkey_gate_opens_timestamp_seconds", "When a closed gate opens by itself; not there when it is open, or a person is needed.", func(_ *known, b status.Brief, add func(string, float64)) {
		if b.HasGate && !b.GateOpen {
			addTime("", b.GateOpens, add)
		}
	}},
	{"keepkey_pinset_version", "The newest version of the pin set on a channel.", func(k *known, b status.Brief, add func(string, float64)) {
		k.channels(b, func(ch status.BriefChannel) { add(ch.Name, float64(ch.Version)) })
	}},
	{"keepkey_channel_confirmed", "Whether the newest pin set on a channel is confirmed to be out.", func(k *known, b status.Brief, add func(string, float64)) {
		k.channels(b, func(ch status.BriefChannel) { add(ch.Name, truth(ch.Confirmed)) })
	}},
	{"keepkey_last_run_timestamp_seconds", "When the daemon last worked on the certificate.", func(k *known, _ status.Brief, add func(string, float64)) {
		addTime("", k.at, add)
	}},
	{"keepkey_next_action_timestamp_seconds", "When the next action is due; in the past when it is held up.", func(_ *known, b status.Brief, add func(string, float64)) {
		addTime("", b.NextAt, add)
	}},
}

func addTime(channel string, t time.Time, add func(string, float64)) {
	if !t.IsZero() {
		add(channel, float64(t.Unix()))
	}
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// channels calls f for each channel that is configured and has a pin set. Others, from earlier
// configurations, would never go.
func (k *known) channels(b status.Brief, f func(status.BriefChannel)) {
	for _, ch := range b.Channels {
		if _, configured := k.cert.Channel(ch.Name); configured {
			f(ch)
		}
	}
}

// chunk is how much is written down at a time, in bytes.
const chunk = 64 << 10

// metrics answers with all metrics, in the text format. Those of certificates are written one
// by one: to gather them first, as client_golang would, takes fifty megabytes for ten thousand.
func (w *Web) metrics(rw http.ResponseWriter, r *http.Request) {
	rw.Header().Set("Content-Type", string(expfmt.NewFormat(expfmt.TypeTextPlain)))
	if r.Method == http.MethodHead {
		return
	}
	w.Metrics.turn.Lock()
	defer w.Metrics.turn.Unlock()
	own, err := w.Metrics.registry.Gather()
	if err != nil {
		w.Log.Warn("some metrics are missing", "problem", err)
	}
	b := bufio.NewWriterSize(inTurns{&w.Metrics.turn, rw}, chunk)
	for _, f := range own {
		if _, err := expfmt.MetricFamilyToText(b, f); err != nil {
			return // the visitor has gone
		}
	}
	w.writeMetrics(b)
	b.Flush()
}

// inTurns gives up its turn while it waits for a visitor. So one core writes metrics down at
// most, and who does not read keeps nobody waiting.
type inTurns struct {
	turn *sync.Mutex
	to   io.Writer
}

func (t inTurns) Write(p []byte) (int, error) {
	t.turn.Unlock()
	defer t.turn.Lock()
	return t.to.Write(p)
}

// writeMetrics writes what is known of the certificates and of the configuration.
func (w *Web) writeMetrics(b *bufio.Writer) {
	all, now := w.all(), w.Now()
	for _, f := range families {
		writeHead(b, f.name, f.help)
		name := "" // of the certificate; one function does for all of them
		add := func(channel string, value float64) {
			if channel == "" {
				writeSample(b, value, f.name, "name", name)
			} else {
				writeSample(b, value, f.name, "name", name, "channel", channel)
			}
		}
		for _, k := range all {
			name = k.brief.Name
			f.of(k, k.now(now), add)
		}
	}
	writeProblems(b, all)
	loaded, problem := w.configuration()
	writeGauge(b, "keepkey_configuration_valid", "Whether the configuration that was last read is valid. If not, the one before is in force.", truth(problem == ""))
	writeGauge(b, "keepkey_configuration_loaded_timestamp_seconds", "When the configuration that is in force was read.", float64(loaded.Unix()))
	writeGauge(b, "keepkey_certificates", "How many certificates are configured.", float64(len(all)))
}

// writeProblems writes how many certificates have each problem: a certificate with a problem
// on two channels counts once.
func writeProblems(b *bufio.Writer, all []*known) {
	count := make(map[status.BriefProblem]int)
	for _, k := range all {
		for i, p := range k.brief.Problems {
			if !slices.Contains(k.brief.Problems[:i], p) {
				count[p]++
			}
		}
	}
	const name = "keepkey_problems"
	writeHead(b, name, "How many certificates have a problem, by its code.")
	for _, p := range slices.SortedFunc(maps.Keys(count), func(p, q status.BriefProblem) int {
		return cmp.Or(cmp.Compare(p.Code, q.Code), cmp.Compare(p.Severity, q.Severity))
	}) {
		writeSample(b, float64(count[p]), name, "code", string(p.Code), "severity", string(p.Severity))
	}
}

func writeGauge(b *bufio.Writer, name, help string, value float64) {
	writeHead(b, name, help)
	writeSample(b, value, name)
}

func writeHead(b *bufio.Writer, name, help string) {
	b.WriteString("# HELP " + name + " " + help + "\n# TYPE " + name + " gauge\n")
}

// writeSample writes one value. Names of certificates and channels, and codes, have nothing in
// them that would have to be escaped.
func writeSample(b *bufio.Writer, value float64, name string, labels ...string) {
	b.WriteString(name)
	for i := 0; i < len(labels); i += 2 {
		separator := ","
		if i == 0 {
			separator = "{"
		}
		b.WriteString(separator)
		b.WriteString(labels[i])
		b.WriteString(`="`)
		b.WriteString(labels[i+1])
		b.WriteString(`"`)
	}
	if len(labels) > 0 {
		b.WriteByte('}')
	}
	b.WriteByte(' ')
	b.Write(strconv.AppendFloat(b.AvailableBuffer(), value, 'f', -1, 64))
	b.WriteByte('\n')
}
