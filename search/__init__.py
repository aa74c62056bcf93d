"""The Ray Tune driver: samples variants, schedules trials, keeps everything in the store. The only importer of ray."""
