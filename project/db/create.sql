-- Run once, on an empty data folder. The tables come from the service's migrations.
CREATE DATABASE predictions_dev;
CREATE DATABASE predictions_test;
