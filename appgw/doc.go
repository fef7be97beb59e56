// Package appgw is the application gateway: the part of an application provider's back-end that commissions devices by their
// stickers, receives what they send, sends them events, calls them, and decommissions them (Schrijen et al. 2019, sections
// II.B and III.E). It is made to be embedded: it takes the host's keys, logger, store and MQTT client, installs no signal
// handler, listens nowhere and has no global state.
//
// Start with [Open], then call [Gateway.Run] in a goroutine of its own:
//
//	gw, err := appgw.Open(ctx, appgw.Config{
//		Credential: credential, Signer: signer, Key: agreementKey, Roots: roots,
//		Locker: locker, Store: store, Admission: admission, Broker: "mqtts://broker.example:8883",
//		OnEvent: func(ctx context.Context, dev identity.DeviceID, e appgw.Event) error {
//			return database.Insert(ctx, dev.String(), e.Body)
//		},
//	})
//	go gw.Run(ctx)
//	err = gw.Connect(ctx, sticker)
//
// # What is promised
//
//   - An event that a device sent is handled at least once, in the order of its device; one that OnEvent refused comes again.
//     A slow handler holds up its own device only. With [Config].OnEventTx, in the host's own transaction, exactly once.
//   - An event that Send accepted reaches the device at least once, over restarts of both sides, of the broker and of the
//     platform, unless the device is disconnected first.
//   - A call runs at most once. Without a reply its outcome is unknown, and the error says so.
//   - The platform's orders are believed only as far as the certificate authority or this application itself bears them out.
//
// # New certificates
//
// The application's certificate ends. Renew it in time, or late, with the same keys or other ones (package identity/party,
// cahttp.Client), and open the gateway with the new credential and, as [Config].Previous, what it was before. Platform and devices
// hear of it by themselves; connections, queues and numbers of messages stay. [DeviceStatus].Outdated says who has not heard of it.
// Devices renew theirs without the host's doing. Several gateways of one application change together.
//
// # What is not
//
// The store is the gateway's memory: two gateways on copies of one store, or a store restored from a backup, repeat numbers that must
// not be repeated. Peers refuse what comes of it, and connections stand still until they are made anew. [MarkRestored] makes a restored
// store usable; nothing does that for a copy in use. One from before a renewal also needs the platform's admission of the present credential, which
// admitting it again returns.
package appgw
