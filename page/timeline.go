package page

import (
	"io"

	"keepkey/plan"
)

// Timeline is when each key was and will be served, which pin sets may be enforced when, and
// when the gate opens.
type Timeline struct{}

// TimelineOf computes the timeline of a lineage from what was found, what is planned
// ([plan.Forecast]), and the end of its journal.
func TimelineOf(in plan.Input, forecast plan.Plan, events []plan.Event) Timeline { return Timeline{} }

// SVG writes a timeline as a document of its own.
func SVG(w io.Writer, t Timeline) error {
	_, err := io.WriteString(w, "<svg xmlns=\"http://www.w3.org/2000/svg\"/>\n")
	return err
}
