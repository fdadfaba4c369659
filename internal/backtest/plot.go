package backtest

import (
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/palette/brewer"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// plotWidth and plotHeight are the size of a chart.
const (
	plotWidth  = 24 * vg.Centimeter
	plotHeight = 14 * vg.Centimeter
)

// Plot draws a report into a folder, each chart as SVG and as PNG: recall and NDCG over the weeks with their standard errors, and
// recall against how little known the listed items are.
func Plot(dir string, r *Report) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // charts are no secret
		return err
	}
	charts := map[string]func() (*plot.Plot, error){
		"recall": func() (*plot.Plot, error) {
			return weekly(r, "recall@30", func(w WeekReport) (float64, float64) { return w.Recall, w.RecallSE })
		},
		"ndcg": func() (*plot.Plot, error) {
			return weekly(r, "NDCG@30", func(w WeekReport) (float64, float64) { return w.NDCG, w.NDCGSE })
		},
		"novelty": func() (*plot.Plot, error) { return novelty(r) },
	}
	for name, draw := range charts {
		p, err := draw()
		if err != nil {
			return fmt.Errorf("drawing %s: %w", name, err)
		}
		for _, format := range []string{".svg", ".png"} {
			if err := p.Save(plotWidth, plotHeight, filepath.Join(dir, name+format)); err != nil {
				return fmt.Errorf("drawing %s: %w", name, err)
			}
		}
	}
	return nil
}

func chart(r *Report, x, y string) *plot.Plot {
	p := plot.New()
	p.Title.Text = fmt.Sprintf("%s, %d weeks, %d listeners in them", r.Dataset.Name, r.Weeks, r.People)
	p.X.Label.Text, p.Y.Label.Text = x, y
	p.Legend.Top = true
	p.Add(plotter.NewGrid())
	return p
}

// ink is a colour for each model, and a dash from the thirteenth on.
func ink(n int) (color.Color, []vg.Length) {
	const colours = 12
	paired, err := brewer.GetPalette(brewer.TypeQualitative, "Paired", colours)
	if err != nil {
		return color.Black, nil
	}
	if n < colours {
		return paired.Colors()[n], nil
	}
	return paired.Colors()[n%colours], []vg.Length{vg.Points(6), vg.Points(3)}
}

// points are values over time with their standard errors.
type points struct {
	plotter.XYs
	plotter.YErrors
}

func weekly(r *Report, label string, of func(WeekReport) (value, se float64)) (*plot.Plot, error) {
	p := chart(r, "freeze", label)
	p.X.Tick.Marker = plot.TimeTicks{Format: "2006-01-02", Time: plot.UTCUnixTime}
	p.Y.Min = 0
	for n, name := range r.Order {
		var curve points
		for _, w := range r.Models[name].ByWeek {
			value, se := of(w)
			curve.XYs = append(curve.XYs, plotter.XY{X: float64(w.Freeze.Unix()), Y: value})
			curve.YErrors = append(curve.YErrors, struct{ Low, High float64 }{se, se})
		}
		line, err := plotter.NewLine(curve.XYs)
		if err != nil {
			return nil, err
		}
		bars, err := plotter.NewYErrorBars(curve)
		if err != nil {
			return nil, err
		}
		line.Color, line.Dashes = ink(n)
		bars.Color = line.Color
		p.Add(line, bars)
		p.Legend.Add(name, line)
	}
	if r.Ceiling != nil {
		p.Legend.Add(fmt.Sprintf("(the truth: %.3f)", r.Ceiling.Recall))
	}
	p.X.Max += float64((r.Protocol.Last.Sub(r.Protocol.First) / 3) / time.Second) // room for the legend
	return p, nil
}

func novelty(r *Report) (*plot.Plot, error) {
	p := chart(r, "mean popularity percentile of what is listed", "recall@30")
	p.Y.Min = 0
	for n, name := range r.Order {
		m := r.Models[name]
		dot, err := plotter.NewScatter(plotter.XYs{{X: m.Percentile, Y: m.Recall}})
		if err != nil {
			return nil, err
		}
		colour, dash := ink(n)
		dot.Color, dot.Radius, dot.Shape = colour, vg.Points(5), draw.CircleGlyph{}
		if dash != nil {
			dot.Shape = draw.TriangleGlyph{}
		}
		p.Add(dot)
		p.Legend.Add(name, dot)
	}
	p.X.Min, p.X.Max = math.Min(p.X.Min, .5), 1
	p.Legend.Left = true
	return p, nil
}
