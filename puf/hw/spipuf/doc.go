// Package spipuf reads the start-up values of an external SPI memory, Microchip's 23LC1024, 23K256 and their relatives, whose power
// a GPIO switches.
//
// Start with [Open]; the [Source] it returns is a [puf.Source]. Ports and pins are those of periph.io; the program initialises its
// host drivers (periph.io/x/host/v3) first:
//
//	_, err := host.Init()
//	port, err := spireg.Open("SPI0.0")
//	src, err := spipuf.Open(spipuf.Config{
//		Chip:  spipuf.Chip23LC1024,
//		Port:  port,
//		Power: gpioreg.ByName("GPIO17"),
//		CS:    gpioreg.ByName("GPIO22"),
//	})
//	defer src.Close()
//	reading := make([]byte, src.Size())
//	err = src.Measure(ctx, reading)
//
// The memory is without power except while it is read. Each Measure keeps it off for [Config.OffTime], a second by default; in the
// cold cells keep their charge longer, and a device profile for -40 °C wants several.
//
// # Wiring
//
//		host                                                   memory (SOIC-8)
//		Power ──▶ switch (P-MOSFET or load switch) ──┬──┬──┬── 8 VCC
//		                                             │  │  └── 7 HOLD (and 3, SIO2, on a 23LC: 10 kΩ to VCC)
//		                                             │  └ 100 nF to ground, nothing larger
//		                                             └ 10 kΩ to ground: empties the capacitor while power is off
//		CS    ── 1 kΩ ──────────────────────────────────────── 1 CS (10 kΩ to VCC)
//		SCK   ── 1 kΩ ──────────────────────────────────────── 6 SCK
//		MOSI  ── 1 kΩ ──────────────────────────────────────── 5 SI
//		MISO  ◀─────────────────────────────────────────────── 2 SO (no pull-up on the host's side)
//		ground ─────────────────────────────────────────────── 4 VSS
//
//	  - Every line that is high while VCC is off feeds the memory through its protection diodes, and then it keeps its content. Hence
//	    CS, SCK and MOSI are driven low before power is cut, and until it is back. All pull-ups go to the switched supply.
//	  - A GPIO may feed a 23LC1024 by itself (10 mA at most); then Power is wired to VCC, with the resistor to ground.
//	  - Nothing else may be on this bus: its traffic would feed the memory while it is off. Where the bus must be shared, or
//	    where the host cannot drive SCK and MOSI as GPIO, put a buffer with power-off protection (74LVC125 or the like, fed from
//	    the switched supply) into the lines and set [Config.Isolated].
//	  - CS is best a GPIO of its own rather than the port's chip select, which the kernel holds on many hosts.
//
// SCK and MOSI are the port's own pins unless configured. They serve as GPIO while the memory is off and go back to their
// function for a transfer, which needs a host driver that can change it (pin.PinFunc; bcm283x can). With one that cannot, Open or the first
// Measure fails and says so.
//
// # What is checked
//
// Each Measure leaves a mark in the memory's mode register, page mode, which is not what it powers up with. The next one finds
// the power-up value, or refuses with [ErrNotFresh]; the first Measure leaves one itself beforehand. The register's
// latches are not the array's cells, so a pass is no proof, yet a power pin that switches nothing, a line that
// feeds the chip and a capacitor that is too large are found. The array itself is never written. Mode changes are read back: a
// memory that does not answer gives [ErrNoMemory], not a constant reading.
//
// Commands and registers are those of the data sheets DS22100 (23A256/23K256), DS22127 (23A640/23K640), DS25142 (23LC1024), DS25155 (23LC512).
package spipuf
