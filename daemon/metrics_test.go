package daemon

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"keepkey/apply"
	"keepkey/config"
	"keepkey/plan"
	"keepkey/status"
)

// scrape returns the samples of a daemon that begin with keepkey_, as Prometheus reads them.
func scrape(t *testing.T, w *Web) map[string]float64 {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(ask(w, "GET", "/metrics").Body)
	if err != nil {
		t.Fatal(err)
	}
	samples := make(map[string]float64)
	for name, f := range families {
		if !strings.HasPrefix(name, "keepkey_") || name == "keepkey_build_info" {
			continue
		}
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			samples[strings.TrimPrefix(name, "keepkey_")+"{"+strings.Join(labels, ",")+"}"] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return samples
}

func TestMetricsSayHowCertificatesAre(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_800_000_000, 0)
	channels := []config.Channel{{Name: "web"}, {Name: "app"}}
	w := webOf(config.Certificate{Name: "closed", Channels: channels}, config.Certificate{Name: "open"}, config.Certificate{Name: "opened"}, config.Certificate{Name: "broken"}, config.Certificate{Name: "unseen"})
	last := config.Config{Certificates: []config.Certificate{{Name: "closed", Channels: channels}, {Name: "open"}, {Name: "opened"}, {Name: "broken"}}}
	w.Configure(&config.Config{}, at)
	w.Configure(&last, at)
	set := func(name string, b status.Brief) {
		b.Name = name
		w.of[name] = &known{cert: w.of[name].cert, brief: b, at: at}
	}
	set("closed", status.Brief{
		NotAfter: at.Add(time.Hour), HasGate: true, GateOpens: at.Add(time.Minute), Next: plan.Obtain, NextAt: at.Add(time.Second),
		Channels: []status.BriefChannel{{Name: "app", Version: 2}, {Name: "gone", Version: 9}, {Name: "web", Version: 3, Confirmed: true}},
		Problems: []status.BriefProblem{{Code: plan.DeployFailing, Severity: status.Warning}, {Code: plan.DeployFailing, Severity: status.Warning}, {Code: plan.KeyMissing, Severity: status.Critical}},
	})
	set("open", status.Brief{HasGate: true, GateOpen: true, Problems: []status.BriefProblem{{Code: plan.DeployFailing, Severity: status.Warning}}})
	set("opened", status.Brief{HasGate: true, GateOpens: at})
	w.Metrics.Observe(apply.Observed{Kind: plan.Obtain})
	w.Metrics.Observe(apply.Observed{Kind: plan.Obtain, Err: errors.New("no")})
	w.Metrics.Observe(apply.Observed{Kind: plan.Publish, Hook: true, Err: errors.New("no")})
	w.Metrics.CountReport(ReportTaken)
	got := scrape(t, w)
	want := map[string]float64{
		"certificate_not_after_timestamp_seconds{name=closed}": 1_800_003_600,
		"gate_open{name=closed}":                               0,
		"gate_open{name=open}":                                 1,
		"gate_open{name=opened}":                               1,
		"gate_opens_timestamp_seconds{name=closed}":            1_800_000_060,
		"pinset_version{name=closed,channel=app}":              2,
		"pinset_version{name=closed,channel=web}":              3,
		"channel_confirmed{name=closed,channel=app}":           0,
		"channel_confirmed{name=closed,channel=web}":           1,
		"last_run_timestamp_seconds{name=closed}":              1_800_000_000,
		"last_run_timestamp_seconds{name=open}":                1_800_000_000,
		"last_run_timestamp_seconds{name=opened}":              1_800_000_000,
		"next_action_timestamp_seconds{name=closed}":           1_800_000_001,
		"problems{code=deploy-failing,severity=warning}":       2,
		"problems{code=key-missing,severity=critical}":         1,
		"configuration_valid{}":                                1,
		"configuration_loaded_timestamp_seconds{}":             1_800_000_000,
		"certificates{}":                                       4,
	}
	for name, value := range want {
		if v, there := got[name]; !there || v != value {
			t.Errorf("%s is %v (there: %v), want %v", name, v, there, value)
		}
	}
	for name, value := range got {
		counts := strings.HasPrefix(name, "actions_total{") || strings.HasPrefix(name, "hook_runs_total{") || strings.HasPrefix(name, "pin_failure_reports_total{")
		one := []string{"actions_total{action=obtain,result=done}", "actions_total{action=obtain,result=failed}", "hook_runs_total{event=publish,result=failed}", "pin_failure_reports_total{result=taken}"}
		if _, wanted := want[name]; !wanted && !counts {
			t.Errorf("%s is there", name)
		} else if counts && (value == 1) != slices.Contains(one, name) {
			t.Errorf("%s is %v", name, value)
		}
	}
}

func TestMetricsGoWithTheConfiguration(t *testing.T) {
	t.Parallel()
	w := webOf(certs("ca", "a", "b")...)
	if got := scrape(t, w); got["certificates{}"] != 2 || got["certificate_not_after_timestamp_seconds{name=a}"] == 0 {
		t.Errorf("%v", got)
	}
	w.Refuse(errors.New("line 7"))
	if got := scrape(t, w); got["configuration_valid{}"] != 0 || got["certificates{}"] != 2 {
		t.Errorf("after one that is not valid: %v", got)
	}
	w.Configure(&config.Config{Certificates: certs("ca", "b")}, time.Unix(1_900_000_000, 0))
	got := scrape(t, w)
	for name := range got {
		if strings.Contains(name, "name=a") {
			t.Errorf("%s is still there", name)
		}
	}
	if got["configuration_valid{}"] != 1 || got["configuration_loaded_timestamp_seconds{}"] != 1_900_000_000 || got["certificate_not_after_timestamp_seconds{name=b}"] == 0 {
		t.Errorf("%v", got)
	}
}

// Metrics that everybody sees say no more than the page.
func TestPublicMetricsSayNothingOfTheProcess(t *testing.T) {
	t.Parallel()
	for _, public := range []bool{false, true} {
		w := webOf(certs("ca", "a")...)
		w.Metrics = NewMetrics("v1", public)
		text := body(t, ask(w, "GET", "/metrics"))
		if got := strings.Contains(text, "\ngo_") || strings.Contains(text, "\nprocess_"); got == public {
			t.Errorf("public: %v, of the process: %v", public, got)
		}
		if !strings.Contains(text, `keepkey_build_info{goversion="go1.`) || !strings.Contains(text, `version="v1"} 1`) {
			t.Error("it does not say which version it is")
		}
	}
}

// promtool check metrics asks the same: contrib/prometheus/verify has it read what this test
// writes to $KEEPKEY_TEST_METRICS.
func TestMetricsKeepPrometheusConventions(t *testing.T) {
	t.Parallel()
	text := body(t, ask(many(3), "GET", "/metrics"))
	if file := os.Getenv("KEEPKEY_TEST_METRICS"); file != "" {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// Alerts and the dashboard ask for what there is.
func TestAlertsAndDashboardKnowTheMetrics(t *testing.T) {
	t.Parallel()
	text := body(t, ask(many(3), "GET", "/metrics"))
	for file, least := range map[string]int{"../contrib/prometheus/alerts.yaml": 6, "../contrib/grafana/keepkey.json": 10} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		named := make(map[string]bool)
		for _, name := range regexp.MustCompile(`\b(keepkey|process)_[a-z_]+`).FindAllString(string(data), -1) {
			named[name] = true
			if !strings.Contains(text, "\n# TYPE "+name+" ") {
				t.Errorf("%s: there is no metric %s", file, name)
			}
		}
		if len(named) < least {
			t.Errorf("%s: only %d metrics were found", file, len(named))
		}
	}
}

// many is a daemon of n certificates.
func many(n int) *Web {
	cs := make([]config.Certificate, n)
	for i := range cs {
		cs[i] = config.Certificate{Name: fmt.Sprintf("certificate-%d.example.com", i), Channels: []config.Channel{{Name: "over-the-air"}, {Name: "in-the-app"}}}
	}
	w := webOf(cs...)
	at := w.Now()
	for name, k := range w.of {
		w.of[name] = &known{cert: k.cert, at: at, brief: status.Brief{
			Name: name, NotAfter: at, HasGate: true, GateOpens: at.Add(time.Hour), NextAt: at,
			Channels: []status.BriefChannel{{Name: "in-the-app", Version: 1}, {Name: "over-the-air", Version: 1, Confirmed: true}},
		}}
	}
	return w
}

// BenchmarkMetrics scrapes ten thousand certificates.
func BenchmarkMetrics(b *testing.B) {
	w := many(10_000)
	h := w.handler()
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r.Host = "localhost"
		h.ServeHTTP(discard{}, r)
	}
}

// BenchmarkMetricsGathered does the same the way client_golang does it by itself: what
// BenchmarkMetrics is to be compared with.
func BenchmarkMetricsGathered(b *testing.B) {
	w := many(10_000)
	registry := prometheus.NewRegistry()
	registry.MustRegister(gathered{w}, w.Metrics.actions, w.Metrics.hooks)
	b.ReportAllocs()
	for b.Loop() {
		all, err := registry.Gather()
		if err != nil {
			b.Fatal(err)
		}
		for _, f := range all {
			expfmt.MetricFamilyToText(io.Discard, f)
		}
	}
}

type gathered struct{ w *Web }

func (g gathered) Describe(chan<- *prometheus.Desc) {}

func (g gathered) Collect(to chan<- prometheus.Metric) {
	for _, f := range families {
		one := prometheus.NewDesc(f.name, f.help, []string{"name"}, nil)
		two := prometheus.NewDesc(f.name, f.help, []string{"name", "channel"}, nil)
		for _, k := range g.w.all() {
			b := k.now(g.w.Now())
			f.of(k, b, func(channel string, value float64) {
				if channel == "" {
					to <- prometheus.MustNewConstMetric(one, prometheus.GaugeValue, value, b.Name)
				} else {
					to <- prometheus.MustNewConstMetric(two, prometheus.GaugeValue, value, b.Name, channel)
				}
			})
		}
	}
}

// discard is a visitor who keeps nothing.
type discard struct{}

func (discard) Header() http.Header         { return make(http.Header) }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}

func TestTheBenchmarksMeasureTheSame(t *testing.T) {
	t.Parallel()
	w := many(100)
	got := scrape(t, w)
	maps.DeleteFunc(got, func(name string, _ float64) bool { return !strings.Contains(name, "name=") })
	registry := prometheus.NewRegistry()
	registry.MustRegister(gathered{w})
	all, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range all {
		n += len(f.Metric)
	}
	if n != len(got) || n != 900 {
		t.Errorf("%d and %d samples", len(got), n)
	}
}
