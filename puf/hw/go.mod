module github.com/semio-iot/semio/puf/hw

go 1.26.0

require (
	github.com/semio-iot/semio v0.0.0
	github.com/stretchr/testify v1.12.1
	go.bug.st/serial v1.8.0
	golang.org/x/sys v0.49.0
	periph.io/x/conn/v3 v3.7.3
)

require (
	github.com/jonboulle/clockwork v0.5.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
)

replace github.com/semio-iot/semio => ../..
