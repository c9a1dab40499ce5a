package server

import (
	"google.golang.org/protobuf/encoding/protowire"

	"kong-openid-connect/internal/kong/wire"
)

// command is the kind of a RpcCall: its field number in Kong's message.
type command protowire.Number

const (
	getPluginNames    command = 31
	getPluginInfo     command = 32
	startInstance     command = 33
	getInstanceStatus command = 34
	closeInstance     command = 35
	handleEvent       command = 36
)

// call is a decoded RpcCall. Bytes share memory with the frame.
type call struct {
	sequence int64
	command  command
	instance int32
	name     []byte // of the plugin, or of the event
	config   []byte
}

// decodeCall reads a RpcCall, whose fields come in any order.
func decodeCall(b []byte) (call, error) {
	var c call
	var body []byte
	for len(b) > 0 {
		f, rest, err := wire.CutField(b)
		if err != nil {
			return call{}, err
		}
		b = rest
		switch {
		case f.IsVarint(1):
			c.sequence = int64(f.Number)
		case f.Num >= protowire.Number(getPluginNames) && f.Num <= protowire.Number(handleEvent) && f.Type == protowire.BytesType:
			c.command, body = command(f.Num), f.Bytes
		}
	}
	for len(body) > 0 {
		f, rest, err := wire.CutField(body)
		if err != nil {
			return call{}, err
		}
		body = rest
		named := c.command == startInstance || c.command == getPluginInfo
		switch {
		case named && f.IsBytes(1):
			c.name = f.Bytes
		case c.command == startInstance && f.IsBytes(2):
			c.config = f.Bytes
		case !named && f.IsVarint(1):
			c.instance = int32(f.Number)
		case c.command == handleEvent && f.IsBytes(2):
			c.name = f.Bytes
		}
	}
	if c.command == 0 {
		return call{}, wire.ErrMessage
	}
	return c, nil
}

// appendReturn appends a RpcReturn without a result.
func appendReturn(b []byte, sequence int64) []byte {
	return wire.AppendInt(b, 1, sequence)
}

// statusReturn is the RpcReturn to the commands about an instance.
func statusReturn(sequence int64, plugin string, id int32, started int64) []byte {
	status := wire.AppendText(nil, 1, plugin)
	status = wire.AppendInt(status, 2, int64(id))
	status = wire.AppendInt(status, 4, started)
	return wire.AppendMessage(appendReturn(nil, sequence), protowire.Number(startInstance), status)
}

func namesReturn(sequence int64, plugin string) []byte {
	return wire.AppendMessage(appendReturn(nil, sequence), protowire.Number(getPluginNames), wire.AppendText(nil, 1, plugin))
}

func infoReturn(sequence int64, info *Info) []byte {
	m := wire.AppendText(nil, 1, info.Name)
	for _, phase := range info.Phases {
		m = wire.AppendText(m, 4, phase)
	}
	m = wire.AppendText(m, 5, info.Version)
	m = wire.AppendInt(m, 6, int64(info.Priority))
	m = wire.AppendText(m, 7, string(info.Schema))
	return wire.AppendMessage(appendReturn(nil, sequence), protowire.Number(getPluginInfo), m)
}
