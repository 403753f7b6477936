package main

import (
	"encoding/json"
	"time"

	"postbag/internal/spool"
)

// An object is a line of --json: the fields of postqueue -j, then ours.
type object struct {
	QueueName    string   `json:"queue_name"`
	QueueID      string   `json:"queue_id"`
	ArrivalTime  int64    `json:"arrival_time"`
	MessageSize  int64    `json:"message_size"`
	ForcedExpire bool     `json:"forced_expire"`
	Sender       string   `json:"sender"`
	Recipients   []target `json:"recipients"`

	Attempts int    `json:"attempts"`
	Next     int64  `json:"next_retry,omitempty"`
	Damage   string `json:"damage,omitempty"`
	EnvID    string `json:"envelope_id,omitempty"`
	Proto    string `json:"proto,omitempty"`
	Client   string `json:"client,omitempty"`
	Login    string `json:"login,omitempty"`
	UID      *int   `json:"uid,omitempty"`
}

type target struct {
	Address string `json:"address"`
	Reason  string `json:"delay_reason,omitempty"`
	Status  string `json:"dsn,omitempty"`
	Host    string `json:"mx,omitempty"`
}

// lines prints one object a message.
type lines struct{ enc *json.Encoder }

// print leaves errors of writing to the writer behind, which keeps them.
func (l *lines) print(e *spool.Entry) {
	o := object{
		QueueName: state(e), QueueID: string(e.ID), ArrivalTime: e.Arrived.Unix(), MessageSize: e.Size,
		Sender: masked(sender(e)), Recipients: []target{}, Attempts: e.Progress.Attempts, Next: unix(e.Progress.Next),
		EnvID: masked(e.EnvID), Proto: e.Proto, Client: e.ClientIP, Login: masked(e.Login),
	}
	if e.Damage != nil {
		o.Damage = masked(e.Damage.Error())
	}
	if e.UID >= 0 {
		o.UID = &e.UID
	}
	for i, r := range e.To {
		if !done(e, i) {
			o.Recipients = append(o.Recipients, target{masked(r.Address.String()), masked(reason(e, i)), code(e, i), host(e, i)})
		}
	}
	_ = l.enc.Encode(o)
}

func (l *lines) end(error) {}

func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// last is the last thing that happened to a recipient.
func last(e *spool.Entry, i int) spool.Event {
	if i < len(e.Progress.Rcpts) && e.Progress.Rcpts[i].Last != nil {
		return *e.Progress.Rcpts[i].Last
	}
	return spool.Event{}
}

func code(e *spool.Entry, i int) string { return masked(last(e, i).Status) }
func host(e *spool.Entry, i int) string { return masked(last(e, i).Host) }
