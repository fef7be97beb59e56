// Package broker is an MQTT 5 broker inside the process of a platform: TLS 1.3, client certificates, and an [Authorizer] that
// is asked at every step.
//
// Start with [New], which listens; [Broker.Run] serves until its context ends; [Broker.URL] is what gateways dial. The
// platform calls [Broker.Evict] when a peer loses a right.
//
// It is for one node, for development and for tests. It does not promise what a broker at scale does: there is no cluster and
// no store, so a restart forgets what was queued. Nothing of the system needs more: what must not be lost lies in the outbox
// of its sender until the receiving gateway has acknowledged it end to end.
//
// # Who may connect, and as whom
//
// The identity of a connection is the name in its verified certificate and nothing else: user name and password are not
// looked at. The client ID must be that name, or an instance of it ("A-WATER--2"); where the certificate itself is that of an
// instance, exactly that one. Then the Authorizer is asked. A second connection under one client ID ends the first.
//
// # What is checked when
//
// Every PUBLISH, every filter of a SUBSCRIBE as it is written, and every delivery of a message. A right that ends while a
// subscription stands ends the deliveries at once. A will is a publication: its topic is checked at CONNECT, where a forbidden
// one refuses the connection, and again when it is sent; Evict drops it.
//
// A connection is judged by its own certificate, also after the handshake: with each revocation list that the Verifier keeps, all are looked at
// again, and those are cut whose certificate, or CA, is not good any more, with their sessions. From the moment in which the list is in force nothing
// passes on them. A device whose own certificate is named keeps its control topics for
// 3 seconds, to fetch the order that wipes it. It does not matter what the Authorizer knows of the name, nor whether the list came through the platform.
//
// Refused whoever asks: topics and filters that begin with $ (so $SYS and $share), retained messages, QoS 2, topic aliases, MQTT 3.
// The broker says so in CONNACK.
//
// # Nothing is dropped silently
//
// A live consumer that falls behind by more than [Limits] allow is disconnected, so that it knows. Writes never wait: a consumer that
// stops reading holds up nobody who publishes to it. Sessions outlive their connection only where [Limits.SessionExpiry] says
// so; messages beyond [Limits.Pending] for such an absent session are dropped and counted.
//
// # mochi-mqtt
//
// Beneath is github.com/mochi-mqtt/server v2.7.9, behind one hook and a connection type of our own that make up for what it
// leaves open; each case has a regression test here. Not used of it: its listeners (they end at the first Accept error and set no
// time limit before CONNECT), its flow control (it reorders, and loses its quota for good), $SYS topics, retained messages,
// inline clients.
package broker
