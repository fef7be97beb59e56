package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"math"

	"github.com/semio-iot/semio/puf/pufstat"
)

//go:embed report.html
var reportTemplate string

// mostMaps is the number of chips whose memory is drawn.
const mostMaps = 8

// page makes the HTML page, which needs nothing beside itself.
func (c *characterization) page() ([]byte, error) {
	t, err := template.New("report").Funcs(template.FuncMap{
		"count":   count,
		"percent": func(v float64) string { return fmt.Sprintf("%.2f %%", 100*v) },
		"mean": func(s pufstat.Summary) string {
			if s.N == 0 {
				return "–"
			}
			return fmt.Sprintf("%.2f %%", 100*s.Mean)
		},
		"lowest": func(s pufstat.Stride) pufstat.Estimate { return pufstat.Lowest(s.Worst...) },
	}).Parse(reportTemplate)
	if err != nil {
		return nil, err
	}
	data := reportData{characterization: c, Distances: c.distancesPlot(), StridesPlot: c.stridesPlot(), Claimed: claimed, WorstWithin: c.worstWithin()}
	for i, f := range c.Chips {
		p := chipPlots{chipFigures: f, Stability: f.stabilityPlot(), Autocorrelation: f.autocorrelationPlot(), Columns: f.columnsPlot(f.period()), Windows: f.windowsPlot(c.Window), MapWidth: mapWidth(8 * f.Bytes)}
		if f.PowerUps > 1 {
			p.PowerUpsPlot = f.powerUpsPlot()
		}
		if i < mostMaps {
			if p.Map, err = bitMap(f.stat); err != nil {
				return nil, err
			}
			if p.Unstable, err = stabilityMap(f.stat); err != nil {
				return nil, err
			}
		}
		data.Plots = append(data.Plots, p)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, data); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

type reportData struct {
	*characterization
	Distances, StridesPlot template.HTML
	Claimed, WorstWithin   float64
	Plots                  []chipPlots
}

type chipPlots struct {
	*chipFigures
	Map, Unstable, Stability, PowerUpsPlot, Windows, Autocorrelation, Columns template.HTML
	MapWidth                                                                  int
}

// period is the row that the columns plot folds the memory by: the fitted one, or that of a common design.
func (f *chipFigures) period() int {
	if f.Model != nil && len(f.Model.Config.Columns) > 1 {
		return len(f.Model.Config.Columns)
	}
	return min(64, 8*f.Bytes)
}

// worstWithin is the largest distance of a window's later power-up from its first.
func (c *characterization) worstWithin() float64 {
	worst := 0.0
	for _, f := range c.Chips {
		worst = math.Max(worst, f.Within.Max)
	}
	return worst
}
