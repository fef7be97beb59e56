package main

import (
	"context"
	"flag"
	"fmt"
	"io"
)

func characterizeCommand() command {
	return command{
		name:    "characterize",
		args:    "DIR…",
		summary: "Print the statistics of chips and their power-ups",
		detail:  "DIR is a folder of power-up dumps (.bin, .hex) of one chip, or a folder of such folders.",
		setUp: func(*flag.FlagSet) action {
			return func(ctx context.Context, args []string, p *progress) (result, error) {
				chips, err := loadChips(ctx, args, p)
				if err != nil {
					return nil, err
				}
				var c characterization
				for _, chip := range chips {
					c.Chips = append(c.Chips, characterizedChip{Name: chip.name, Readings: len(chip.readings), Size: len(chip.readings[0])})
				}
				return c, nil
			}
		},
	}
}

// characterization is what the command found.
type characterization struct {
	Chips []characterizedChip `json:"chips"`
}

type characterizedChip struct {
	Name     string `json:"name"`
	Readings int    `json:"readings"`
	Size     int    `json:"size"`
}

func (c characterization) WriteText(w io.Writer) error {
	for _, chip := range c.Chips {
		if _, err := fmt.Fprintf(w, "%s: %d power-ups of %d bytes\n", chip.Name, chip.Readings, chip.Size); err != nil {
			return err
		}
	}
	return nil
}
