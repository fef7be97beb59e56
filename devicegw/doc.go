// Package devicegw is the device's gateway: it gives a device its identity in production, keeps it connected with the one
// application that commissioned it, and ends its life when the certificate authority says so (Schrijen et al. 2019, sections
// II.C and III.E).
//
// In the factory call [Produce] once. In the field, at every power-up, [Open] and [Gateway.Run]:
//
//	certified, err := devicegw.CertifiedHelper(ctx, nvm, roots)          // nvm from OpenFileNVM, roots from the firmware
//	vault, err := keyvault.Open(ctx, source, nvm,                        // the root of trust
//		&keyvault.Options{HelperHash: certified})
//	gw, err := devicegw.Open(ctx, devicegw.Config{
//		Root: vault, NVM: nvm, Broker: "mqtts://broker.example",
//		OnCall: func(ctx context.Context, c devicegw.Call) (devicegw.Reply, error) { … },
//	})
//	go gw.Run(ctx)
//	err = gw.WaitConnected(ctx)                                          // until an application has commissioned the device
//	_, err = gw.Send(ctx, devicegw.Event{Type: "text/plain", Body: []byte("21.5")})
//
// What the package does by itself: it takes the platform's orders (connect, disconnect, wipe), believes them only as far as
// certificates, signatures and evidence go that it verifies against the roots pinned in production, and keeps messages and
// counters through power cuts. Every order is one atomic write; after a power cut at any moment the device is the same, no
// message that [Gateway.Send] took is lost, and none is handled twice beyond what package delivery says.
//
// It also renews its certificate by itself, through the platform, when a third of the validity is left, and long after the end: a device that was
// switched off for years comes back without a person. The connection with its application goes on, whichever of the two was renewed.
//
// # What lies in non-volatile memory
//
// Helper data, which is public; everything else is locked under the root of trust. A copy of the memory in another device
// opens nothing, and is refused with [ErrWrongRoot]. What the lock cannot see is the device's own older memory put
// back: a restored backup must not be used with the bindings that were alive then, because their message numbers would repeat. (Its epochs
// would, too, but of those the peers tell it.)
//
// # What the platform cannot do
//
// It cannot install a peer that the certificate authority has not certified as an application, nor one that does not know the
// sticker's claim code (unless production switched that off), nor bring an old connection back; it cannot take the connected
// application away without that application's signed request or a revocation list, nor wipe the device without a revocation
// list that names it. It can withhold messages and orders.
package devicegw
