// Package internal is what the example programs share. It holds this page only.
//
// The programs exchange files and requests, and nothing else ties them together:
//
//	who          has                                    gives away                       gets
//	ca           its folder: root.key, store            root.pem; crl.pem                request.pem of every party, or of an issuing CA
//	every party  its folder (identity/party)            request.pem, credential.pem      chain.pem and root.pem from the ca
//	application  its folder                             credential.pem to the platform   admission.pem from the platform
//	factory      its folder (a registrar)               LINE/units/D-…: the devices      certificates from the ca, admissions from the platform
//	                                                    LINE/stickers: what to print
//	device       its folder (examples/internal/unit)    ciphertext                       everything from the factory
//
// Files are PEM, so that they can be mailed; root.pem alone must come by a way that can be trusted. Over the network ca and
// platform speak HTTPS with mutual TLS 1.3 (identity/ca/cahttp, platform/adminhttp): the name in the client's certificate says what
// it may ask.
//
//	https://CA:8444          issue (registrars: devices; everybody: their own name anew), server certificates, revoke, crl
//	https://PLATFORM:8443    register (registrars), admit, retire, list, audit (operators), admission (the application itself)
//	mqtts://PLATFORM:8883    the embedded broker: devices, applications, the platform
//
// To write a program: package cli for flags, exit codes, output; partycmd for the commands init, install and show and the flag -party;
// unit for a device's folder; clitest runs programs in tests. Flags with the same meaning have the same name everywhere:
//
//	-party DIR     the party's folder             -unit DIR      a device's folder
//	-ca URL        the authority                  -platform URL  the platform's administration
//	-broker URL    the MQTT broker                -prefix TEXT   of all topics
//	-store FILE    the bbolt file                 -listen ADDR   what a server listens on
//	-json, -v      see package cli
//
// Files are handed on by -in FILE and -out FILE, where -out - is stdout. Servers print one line, or with -json one value, when they are
// ready: {"ready":true, …} with their URLs, so that scripts need not poll and may use port 0.
package internal
