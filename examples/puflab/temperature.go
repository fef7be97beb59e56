package main

import (
	"context"
	"strconv"
	"strings"

	"github.com/semio-iot/semio/puf"
	"github.com/semio-iot/semio/puf/pufsim"
	"github.com/semio-iot/semio/puf/pufstat"
)

// temperatureFigures compare a chip at another temperature with what the fitted model has there.
type temperatureFigures struct {
	Celsius float64          `json:"celsius"`
	Drift   float64          `json:"drift"` // pufsim.Config.TemperatureDrift that fits
	Apart   pufstat.Summary  `json:"apart"` // distances of its power-ups from those at room temperature
	figures                  // at that temperature
	Model   temperatureModel `json:"model"`
}

type temperatureModel struct {
	Apart pufstat.Summary `json:"apart"`
	figures
}

// atFlag names power-ups at another temperature: CELSIUS=DIR.
type atFlag struct {
	celsius float64
	dir     string
}

func (a *atFlag) String() string {
	if a.dir == "" {
		return ""
	}
	return strconv.FormatFloat(a.celsius, 'g', -1, 64) + "=" + a.dir
}

func (a *atFlag) Set(s string) error {
	celsius, dir, ok := strings.Cut(s, "=")
	v, err := strconv.ParseFloat(celsius, 64)
	if !ok || err != nil || dir == "" || !(v > -273.15 && v < 1000) {
		return usagef("want CELSIUS=DIR, for example -18=dumps/cold")
	}
	a.celsius, a.dir = v, dir
	return nil
}

// figuresAt compares the only chip with its power-ups in a.dir.
func (c *characterization) figuresAt(ctx context.Context, a atFlag, p *progress, opts []puf.Option) (*temperatureFigures, error) {
	chips, err := loadChips(ctx, []string{a.dir}, p, opts...)
	if err != nil {
		return nil, err
	}
	f := c.Chips[0]
	switch {
	case len(chips) != 1 || len(c.Chips) != 1:
		return nil, usagef("flag -at compares one chip with itself; name one folder of dumps for each temperature")
	case len(chips[0].readings[0]) != f.Bytes:
		return nil, usagef("%s: readings of %d bytes, and of %d at room temperature", a.dir, len(chips[0].readings[0]), f.Bytes)
	case f.Model == nil:
		return nil, usagef("flag -at wants a chip that a model is fitted to: at least 3 power-ups at room temperature")
	}
	other, err := pufstat.New(chips[0].readings...)
	if err != nil {
		return nil, err
	}
	t := &temperatureFigures{Celsius: a.celsius, figures: figuresOf(other, c.Window)}
	apart, err := pufstat.Across(f.stat, other)
	if err != nil {
		return nil, err
	}
	t.Apart = pufstat.Summarize(apart)
	config := f.Model.Config
	if t.Drift, err = pufsim.FitTemperature(config, f.stat, other, a.celsius); err != nil {
		return nil, err
	}
	config.TemperatureDrift = t.Drift
	sim := pufsim.New(1, config)
	room, err := powerUps(ctx, sim, f.PowerUps)
	if err != nil {
		return nil, err
	}
	sim.SetTemperature(a.celsius)
	there, err := powerUps(ctx, sim, other.Readings())
	if err != nil {
		return nil, err
	}
	if apart, err = pufstat.Across(room, there); err != nil {
		return nil, err
	}
	t.Model = temperatureModel{Apart: pufstat.Summarize(apart), figures: figuresOf(there, c.Window)}
	return t, nil
}

// powerUps takes readings of a simulated chip.
func powerUps(ctx context.Context, sim *pufsim.Chip, n int) (*pufstat.Chip, error) {
	readings := make([][]byte, n)
	for i := range readings {
		readings[i] = make([]byte, sim.Size())
		if err := sim.Measure(ctx, readings[i]); err != nil {
			return nil, err
		}
	}
	return pufstat.New(readings...)
}
