package daemon

import (
	"bytes"
	"context"
	"net/http"

	"keepkey/apply"
	"keepkey/page"
	"keepkey/plan"
	"keepkey/status"
)

const contentHTML = "text/html; charset=utf-8"

// overviewPage shows all certificates, the worst first.
func (w *Web) overviewPage(ctx context.Context, _ *http.Request, b *bytes.Buffer) (string, error) {
	v := w.view()
	left, err := w.LeftOver(ctx)
	if err != nil {
		w.Log.Warn("the page can't show which lineages are not configured", "problem", err)
	}
	v.Certificates = left[:min(len(left), page.MaxInFull/2)]
	all := w.all()
	worstFirst(all)
	for _, k := range all {
		if len(v.Certificates) < page.MaxInFull && ctx.Err() == nil && !k.at.IsZero() {
			v.Certificates = append(v.Certificates, w.whole(ctx, k))
		} else {
			v.Others = append(v.Others, k.now(v.Now))
		}
	}
	return contentHTML, page.HTML(b, v)
}

// certificatePage shows one certificate.
func (w *Web) certificatePage(ctx context.Context, r *http.Request, b *bytes.Buffer) (string, error) {
	k := w.one(r.PathValue("name"))
	if k == nil {
		return "", errNotThere
	}
	v := w.view()
	v.Certificates = []page.Certificate{w.whole(ctx, k)}
	return contentHTML, page.HTML(b, v)
}

// timeline draws the timeline of one certificate.
func (w *Web) timeline(ctx context.Context, r *http.Request, b *bytes.Buffer) (string, error) {
	k := w.one(r.PathValue("name"))
	if k == nil {
		return "", errNotThere
	}
	return "image/svg+xml", page.SVG(b, w.whole(ctx, k).Timeline)
}

// view is a page without certificates.
func (w *Web) view() page.View {
	_, problem := w.configuration()
	return page.View{Now: w.Now(), Hostname: w.Hostname, Version: w.Version, ConfigProblem: problem, Since: w.Since}
}

// whole returns all that there is to show of a certificate. Where there is no state to read,
// that is what the last run found: to find out more would take asking others.
func (w *Web) whole(ctx context.Context, k *known) page.Certificate {
	if k.whole == nil && !k.at.IsZero() {
		return w.Show(ctx, *k.cert)
	}
	in := plan.Input{Goal: apply.Goal(*k.cert), Now: w.Now()}
	c := page.Certificate{Timeline: page.TimelineOf(in, plan.Plan{}, nil)}
	if k.whole != nil {
		c.Lineage = *k.whole
	} else {
		c.Lineage = status.Of(in, plan.Plan{})
	}
	return c
}
