-- What carries the steady clock exactly from process to process while the machine runs on.

ALTER TABLE steady_clock ADD COLUMN boot_id TEXT;           -- names the machine's run; NULL where it has no name
ALTER TABLE steady_clock ADD COLUMN boot_offset_ms INTEGER; -- steady time minus the time since that run began
