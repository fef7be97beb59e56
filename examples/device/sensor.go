package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sensor measures a temperature in degrees Celsius.
type sensor struct {
	name string // for people
	read func() (float64, error)
}

// hwmonRoot is where Linux lists what its monitoring chips measure.
const hwmonRoot = "/sys/class/hwmon"

// openSensor opens what -sensor names: "auto" takes the machine's first thermometer, or simulates one where it has none, "simulated" always
// does, and everything else is a file with thousandths of a degree, as Linux has them.
func openSensor(name, root string) (sensor, error) {
	switch name {
	case "simulated":
		return simulated(), nil
	case "auto":
		// Errors and an empty list mean the same: a machine without a thermometer.
		files, _ := filepath.Glob(filepath.Join(root, "hwmon*", "temp*_input"))
		slices.Sort(files)
		for _, file := range files {
			if _, err := readMilli(file); err == nil {
				return fileSensor(file), nil
			}
		}
		return simulated(), nil
	}
	if _, err := readMilli(name); err != nil {
		return sensor{}, fmt.Errorf("sensor: %w (want auto, simulated, or a file like %s/hwmon0/temp1_input)", err, hwmonRoot)
	}
	return fileSensor(name), nil
}

func fileSensor(file string) sensor {
	return sensor{name: file, read: func() (float64, error) { return readMilli(file) }}
}

func readMilli(file string) (float64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%s holds no number of thousandths of a degree", file)
	}
	return float64(n) / 1000, nil
}

// simulated is a room that is warmer in the afternoon.
func simulated() sensor {
	return sensor{name: "simulated", read: func() (float64, error) {
		day := float64(time.Now().Unix()%86400) / 86400
		celsius := 20.5 - 2.5*math.Cos(2*math.Pi*(day-0.125)) + rand.NormFloat64()*0.1
		return math.Round(celsius*10) / 10, nil
	}}
}
