package daemon

import (
	"errors"
	"testing"
	"time"

	"keepkey/config"
	"keepkey/plan"
)

func TestTheOverviewIsSummedUp(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_800_000_000, 0)
	o := NewOverview(&config.Config{Certificates: certs("ca", "a", "b", "c")}, at)
	for _, tt := range []struct {
		happens func()
		want    string
	}{
		{func() {}, "3 certificates"},
		{func() { o.Worked(reportOf("a", plan.KeyMissing, plan.DeployFailing), at) }, "3 certificates, 1 of them with problems"},
		{func() { o.Worked(reportOf("b", plan.DeployFailing), at) }, "3 certificates, 2 of them with problems"},
		{func() { o.Worked(reportOf("a"), at) }, "3 certificates, 1 of them with problems"},
		{func() { o.Refuse(errors.New("line 7")) }, "3 certificates, 1 of them with problems; the configuration is not valid, an earlier one is in force"},
		{func() { o.Configure(&config.Config{Certificates: certs("ca", "a", "c")}, at) }, "2 certificates"},
		{func() { o.Configure(&config.Config{Certificates: certs("ca", "a")}, at) }, "1 certificate"},
	} {
		if tt.happens(); o.Sum() != tt.want {
			t.Errorf("%q, want %q", o.Sum(), tt.want)
		}
	}
}
