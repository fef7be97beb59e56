// Package serialpuf reads the start-up values of a memory that a microcontroller (MCU) looks after, over a serial line.
//
// Start with [Open], which opens a serial port, or with [New] over any io.ReadWriter: a port opened with other settings, a USB
// endpoint, a TCP connection to a terminal server. The [Source] they return is a [puf.Source].
//
//	src, err := serialpuf.Open("/dev/ttyUSB0", serialpuf.Config{Size: 1024})
//	defer src.Close()
//	reading := make([]byte, src.Size())
//	err = src.Measure(ctx, reading)
//
// A reading crosses the line in the clear. It is a secret, so the line must not leave the case: for a device whose MCU and host
// do not share one, the MCU should keep its readings to itself. The checksum finds line errors and no attack.
//
// # Protocol
//
// The host sends a request, the MCU cuts the power of its memory, waits, restores it, and answers with one frame. All numbers are
// big-endian. The line is 8N1, 115200 baud unless configured otherwise, without flow control.
//
//	request, 12 bytes                               frame, 12 + n bytes
//	┌──────────┬────────┬────────┬────────┐         ┌──────────┬────────┬────────┬────────────┬────────┐
//	│ "PUFR" 4 │ size 2 │ zero 2 │ CRC 4  │         │ "PUF1" 4 │ n 2    │ flags 2│ reading n  │ CRC 4  │
//	└──────────┴────────┴────────┴────────┘         └──────────┴────────┴────────┴────────────┴────────┘
//
// CRC is CRC-32 as in Ethernet and zlib (reflected polynomial 0xEDB88320, initial value and final XOR 0xFFFFFFFF; the nine characters
// "123456789" give 0xCBF43926) over all bytes before it, the magic included. Size is the number of bytes that the host wants,
// which is the same in every request, so an MCU may compare twelve constant bytes. For 1024 bytes these are
//
//	50 55 46 52  04 00  00 00  55 59 08 32
//
// and a frame with the reading de ad be ef, fresh, is
//
//	50 55 46 31  00 04  00 01  de ad be ef  70 5e 3f 96
//
// Flags: bit 0 (value 1) says that the memory was without power since the reading in the frame before, in whatever session that
// was sent. The other bits are zero; the host refuses what it does not know.
//
// # The MCU's side
//
//  1. Drop bytes until "PUFR" came, read eight more, drop all of it when the CRC is wrong. A half request must not
//     stall the next one: forget it after 100 ms of silence.
//  2. Cut the power of an external memory for a second, with its data and control lines low meanwhile: a line held high feeds
//     the memory through its protection diodes. An MCU that reads its own SRAM enters a mode that cuts the SRAM's supply, or has the
//     host cut its own.
//  3. Set bit 0 only when that truly happened. For the MCU's own SRAM the register of reset causes tells: power-on or
//     brown-out counts, a reset by pin, watchdog or software does not. Take the reading before start-up code clears or copies
//     anything into the region.
//  4. Send the frame. A frame may also be sent without a request, once after a power-up. Anything else on the line, such as a boot
//     log, is skipped by the host as long as it stays below 128 KiB for a reading; keep it out of the frame.
//
// The host does not tell which request a frame answers: a late one is a fresh reading as good as another, and the MCU may lose
// its memory between the two. Of frames that arrive together the host takes the first and drops what came with it.
//
// # Errors on the line
//
// [Source.Measure] requests again, a bounded number of times, when no frame came, when it stopped in its middle, and when its
// checksum was wrong. It does not when the MCU says something that it would say again: [ErrNotFresh], [ErrSize], [ErrFlags].
package serialpuf
